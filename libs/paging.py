"""Pages: a size that is bounded and an opaque token that says after which key to go on."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from libs.errors import Invalid, Violation

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page:
    """Rows after the key `after` (empty: from the start), at most `size` of them."""

    size: int
    after: tuple[str, ...]

    @property
    def lookahead(self) -> int:
        """How many rows to read: one more than are given tells whether there is a next page."""
        return self.size + 1

    def split(self, rows: Sequence[Row], key: Callable[[Row], tuple[str, ...]]) -> tuple[Sequence[Row], str]:
        """The rows of this page and the token of the next one (empty on the last)."""
        if len(rows) <= self.size:
            return rows, ""
        kept = rows[: self.size]
        return kept, base64.urlsafe_b64encode(json.dumps(key(kept[-1])).encode()).decode()


def page(size: int, token: str, *, keys: int = 1, default: int = 100, most: int = 1000) -> Page:
    """Decode a list request. `keys` is how many columns the sort key has."""
    return Page(min(size or default, most), _decode(token, keys) if token else ())


def _decode(token: str, keys: int) -> tuple[str, ...]:
    try:
        decoded: object = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, ValueError):
        decoded = None
    if isinstance(decoded, list):
        parts = cast(list[object], decoded)
        if len(parts) == keys and all(isinstance(part, str) and _storable(part) for part in parts):
            return tuple(cast(list[str], parts))
    raise Invalid([Violation("page_token", "not a token that this list returned")], reason="INVALID_PAGE_TOKEN")


def _storable(text: str) -> bool:
    """Whether Postgres would take it: it stores neither NUL nor what is no Unicode text."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
