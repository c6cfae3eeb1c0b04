"""The last snapshots: when, because of whom and of what; and what a store of them promises."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from libs.errors import Faults
from services.routing.domain.parts import Delta, Key, Manifest, is_input

KEPT = 100
NAMED = re.compile(r"[0-9a-f]{16}|[1-9][0-9]{0,14}")
REVISION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Count:
    """How the resources of a type differ from those of the snapshot before."""

    type: str
    total: int
    added: int = 0
    changed: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Entry:
    """A recorded snapshot. `number` is 0 as long as it is not recorded; `unrecorded` counts those missing before it."""

    number: int
    revision: str
    time: datetime
    authors: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    counts: tuple[Count, ...] = ()
    unrecorded: int = 0


@dataclass(frozen=True, slots=True)
class Head:
    """The number of the newest recorded snapshot, 0 when there is none, and what is in it."""

    number: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Write:
    """Somebody wrote a route. `content` is the hash of the route as it then was; empty: it was deleted."""

    model: str
    content: str
    principal: str
    time: datetime
    why: str = ""
    id: int = 0


class HistoryStore(Protocol):
    """Every method may raise Unavailable."""

    async def head(self) -> Head: ...

    async def append(
        self, base: int, entry: Entry, change: Delta, bodies: Mapping[str, bytes], writes: Sequence[Write] = ()
    ) -> Entry | None:
        """Record what follows the snapshot `base`, as a whole or not at all, and forget what is older than the last
        100. None when `base` is the newest no more. `bodies` holds all content that is not recorded yet, by hash;
        `writes` are told with the entry and no more returned by `writes`.
        """
        ...

    async def list(self, before: int, most: int) -> Sequence[Entry]:
        """Newest first, those with a lower number than `before`; 0: from the newest."""
        ...

    async def find(self, named: str) -> Entry:
        """By number or revision (its newest). Raises NotFound SNAPSHOT_NOT_FOUND."""
        ...

    async def manifest(self, number: int) -> Manifest:
        """What is in a recorded snapshot; empty where there is none."""
        ...

    async def contents(self, number: int, types: Iterable[str]) -> Mapping[Key, bytes]:
        """The parts of these types, in a recorded snapshot."""
        ...

    async def bodies(self, hashes: Iterable[str]) -> Mapping[str, bytes]:
        """Content by its hash; without what is not recorded."""
        ...

    async def note(self, writes: Sequence[Write]) -> None:
        """Who wrote which routes; in the transaction that writes them."""
        ...

    async def writes(self, routes: Mapping[str, str]) -> Sequence[Write]:
        """The writes that led to these routes (by model the hash, empty for none) and are not told yet, oldest first.

        Those that came after the one with that hash are left for a later snapshot.
        """
        ...


def check_named(named: str, field: str, faults: Faults) -> None:
    """The name of a snapshot: its number or its revision."""
    rule = "must be a snapshot's number, or its revision: 16 hexadecimal digits in lower case"
    if faults.require(named, field, "is required"):
        faults.require(NAMED.fullmatch(named), field, rule)


def is_number(named: str) -> bool:
    """Whether it is not a revision; numbers are shorter."""
    return len(named) < REVISION_DIGITS


def counted(before: Manifest, change: Delta, totals: Mapping[str, int]) -> tuple[Count, ...]:
    """Resources by type, types in order; `totals` is how many there are now of each."""
    added = Counter(key[0] for key in change.put if key not in before)
    changed = Counter(key[0] for key in change.put if key in before)
    removed = Counter(key[0] for key in change.gone)
    kinds = {*totals, *(key[0] for key in change.gone if not is_input(key))}
    return tuple(Count(kind, totals.get(kind, 0), added[kind], changed[kind], removed[kind]) for kind in sorted(kinds))


def same(told: Sequence[Write], wanted: str) -> Sequence[Write]:
    """Of a model's writes, oldest first, those up to the last one that left the wanted content."""
    last = max((place for place, write in enumerate(told) if write.content == wanted), default=-1)
    return told[: last + 1]
