"""Taking records into the books: each inference once, however often and in whatever order its line comes."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Protocol

from services.cost_tracking.domain.charge import Charge, charge
from services.cost_tracking.domain.price import Catalogue
from services.cost_tracking.domain.usage import Usage

Key = tuple[str, str]
CONFLICT = "conflict"
MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class SetAside:
    """A record that cannot be booked, kept word for word for people to look at."""

    reason: str
    content: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive lines [start, end) of a proxy's file, in bytes."""

    proxy: str
    file: str
    start: int
    end: int
    usages: tuple[Usage, ...]
    malformed: tuple[SetAside, ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of a batch. `conflicts` and `malformed` count what was not seen before.

    `committed` is how far the file is booked without a gap.
    """

    booked: tuple[Charge, ...]
    repeats: int
    conflicts: int
    malformed: int
    committed: int


class Prices(Protocol):
    async def in_force(self, first: datetime, last: datetime) -> Catalogue:
        """Every price that counts somewhere in [first, last]."""
        ...


class Ledger(Protocol):
    def transaction(self) -> AbstractAsyncContextManager[object]:
        """All calls in the block commit together, or none."""
        ...

    async def post(self, charges: Sequence[Charge]) -> Collection[Key]:
        """Book charges, sorted by key, no key twice; those whose key is booked already change nothing.

        Returns the keys that were not.
        """
        ...

    async def usages(self, keys: Sequence[Key]) -> Mapping[Key, Usage]:
        """Those of the keys that are booked."""
        ...

    async def set_aside(self, items: Iterable[SetAside], proxy: str, file: str) -> Sequence[SetAside]:
        """Keep them; returns those that were not kept before."""
        ...

    async def advance(self, proxy: str, file: str, start: int, end: int) -> int:
        """Note that [start, end) is booked; returns the end of what is booked without a gap.

        A file that is new begins where it is first told of.
        """
        ...


async def deliver(batch: Batch, ledger: Ledger, prices: Prices) -> Delivery:
    """Book a batch in one transaction.

    A key that is booked already is a repeat when its content is the same, else a conflict; neither is charged.
    """
    # one order for everybody, so that overlapping deliveries wait for each other and never deadlock
    ordered = sorted(batch.usages, key=lambda usage: usage.key)
    first: dict[Key, Usage] = {}
    twice: list[Usage] = []
    for usage in ordered:
        if usage.key in first:
            twice.append(usage)
        else:
            first[usage.key] = usage
    async with ledger.transaction():
        charges = await _priced(list(first.values()), prices)
        fresh = frozenset(await ledger.post(charges))
        booked = tuple(c for c in charges if c.usage.key in fresh)
        again = [u for key, u in first.items() if key not in fresh] + twice
        there = await ledger.usages([u.key for u in again])
        conflicts = [u for u in again if there[u.key] != u]
        aside = [*batch.malformed, *(SetAside(CONFLICT, _content(u)) for u in conflicts)]
        kept = await ledger.set_aside(aside, batch.proxy, batch.file)
        committed = await ledger.advance(batch.proxy, batch.file, batch.start, batch.end)
    return Delivery(
        booked=booked,
        repeats=len(again) - len(conflicts),
        conflicts=sum(item.reason == CONFLICT for item in kept),
        malformed=sum(item.reason == MALFORMED for item in kept),
        committed=committed,
    )


async def _priced(usages: Sequence[Usage], prices: Prices) -> list[Charge]:
    if not usages:
        return []
    times = [usage.start_time for usage in usages]
    catalogue = await prices.in_force(min(times), max(times))
    return [charge(usage, catalogue) for usage in usages]


def _content(usage: Usage) -> str:
    return json.dumps(asdict(usage), default=str, sort_keys=True)
