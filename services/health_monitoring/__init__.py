"""What is believed of every target, and why."""
