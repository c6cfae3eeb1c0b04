"""What this service asks of others: who is there, and whether they answer."""
