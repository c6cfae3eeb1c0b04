"""Nothing is made twice from the same."""

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


class Latest(Generic[Given, Made]):
    """A pure function that remembers its last call only: called with equal arguments again, it answers the same.

    Unlike `lru_cache(1)` it compares and does not hash: of a tuple whose members are the same objects that costs
    nothing, and what was given before is let go.
    """

    def __init__(self, make: Callable[Given, Made]) -> None:
        self._make = make
        self._last: tuple[tuple[object, object], Made] | None = None

    def __call__(self, *given: Given.args, **named: Given.kwargs) -> Made:
        asked = given, named
        if self._last is None or self._last[0] != asked:
            self._last = asked, self._make(*given, **named)
        return self._last[1]
