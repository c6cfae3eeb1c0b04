"""Lists come in pages; a person wants all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def every(call: Callable[[Any], Any], request: Any, field: str) -> Iterator[Any]:
    """Every item of the repeated `field`, page after page."""
    while True:
        answer = call(request)
        yield from getattr(answer, field)
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token
