"""What callers, routing and the log companions see."""
