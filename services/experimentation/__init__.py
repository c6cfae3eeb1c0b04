"""Who gets which version, and what came of it."""
