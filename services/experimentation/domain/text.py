"""Text of callers that is kept: bounded, since it goes into indexes, and free of NUL, which Postgres refuses."""

LONGEST_UNIT = 1024
LONGEST_ID = 256


def is_text(text: str, longest: int) -> bool:
    """1 to `longest` bytes without NUL."""
    return 1 <= len(text.encode()) <= longest and "\0" not in text
