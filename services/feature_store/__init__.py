"""Features, declared once: read now from Redis, and as they were from history."""
