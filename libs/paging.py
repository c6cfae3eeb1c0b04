"""Pages: a size that is bounded and an opaque token that says after which key of which list to go on."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from libs.call import method
from libs.errors import Invalid, Violation

Row = TypeVar("Row")
TOKEN_BYTES = 4096


@dataclass(frozen=True)
class Page:
    """Rows after the key `after` (empty: from the start), at most `size` of them."""

    size: int
    after: tuple[str, ...]
    of: str = ""
    """The method that lists, to which its tokens are bound."""

    @property
    def lookahead(self) -> int:
        """How many rows to read: one more than are given tells whether there is a next page."""
        return self.size + 1

    def split(self, rows: Sequence[Row], key: Callable[[Row], tuple[str, ...]]) -> tuple[Sequence[Row], str]:
        """The rows of this page and the token of the next one (empty on the last)."""
        if len(rows) <= self.size:
            return rows, ""
        kept = rows[: self.size]
        written = json.dumps([self.of, *key(kept[-1])], ensure_ascii=False)
        return kept, base64.urlsafe_b64encode(written.encode()).decode()


def page(size: int, token: str, *, keys: int = 1, default: int = 100, most: int = 1000) -> Page:
    """Decode a request of the list method that is being answered; a token of another is refused.

    `keys` is how many columns the sort key has. Raises Invalid (INVALID_PAGE_TOKEN).
    """
    return Page(min(size or default, most), _decode(token, method(), keys) if token else (), method())


def _decode(token: str, asked: str, keys: int) -> tuple[str, ...]:
    try:
        decoded: object = json.loads(base64.urlsafe_b64decode(token.encode())) if len(token) <= TOKEN_BYTES else None
    except (binascii.Error, ValueError, RecursionError):
        decoded = None
    if isinstance(decoded, list):
        parts = cast(list[object], decoded)
        if len(parts) == keys + 1 and parts[0] == asked and all(_storable(part) for part in parts):
            return tuple(cast(list[str], parts[1:]))
    raise Invalid([Violation("page_token", "not a token that this list returned")], reason="INVALID_PAGE_TOKEN")


def _storable(part: object) -> bool:
    """Whether Postgres would take it as text: it stores neither NUL nor what is no Unicode text."""
    return isinstance(part, str) and "\0" not in part and not any("\ud800" <= c <= "\udfff" for c in part)
