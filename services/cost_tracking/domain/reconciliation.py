"""The books beside the counters of those who did the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.cost_tracking.domain.usage import Hop, Outcome


@dataclass(frozen=True, slots=True)
class Tally:
    """How many records of a hop had an outcome."""

    hop: Hop
    outcome: Outcome
    usages: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A counter of somebody else; `value` is None when it did not answer, `error` says why."""

    source: str
    value: int | None
    error: str = ""


class TallyStore(Protocol):
    async def tallies(self, since: datetime | None) -> Sequence[Tally]:
        """Of records that started at `since` or later; None means all."""
        ...


class Counters(Protocol):
    async def read(self) -> Sequence[Reading]:
        """By source. Never raises: who cannot be read says so in the reading."""
        ...


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Tallies of the books and the readings of Envoy and of the servers, taken at about the same time."""

    tallies: tuple[Tally, ...]
    envoy: tuple[Reading, ...]
    servers: tuple[Reading, ...]

    def of(self, *outcomes: Outcome) -> int:
        return sum(tally.usages for tally in self.tallies if tally.outcome in outcomes)
