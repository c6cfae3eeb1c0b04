"""Text of callers that is kept: bounded, since it goes into indexes, and free of NUL, which Postgres refuses."""

import re

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LONGEST_UNIT = 1024
LONGEST_ID = 256


def is_unit(text: str) -> bool:
    """A routing key as Envoy takes it: no caller ever has another, so nothing could be assigned or joined to it."""
    return 1 <= len(text.encode()) <= LONGEST_UNIT and not CONTROL.search(text)


def is_text(text: str, longest: int) -> bool:
    """1 to `longest` bytes without NUL."""
    return 1 <= len(text.encode()) <= longest and "\0" not in text
