"""Questions about spend, and how much of a span of time whole hours can answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from libs.errors import Invalid, Violation

HOUR = timedelta(hours=1)
LATEST = datetime.max.replace(tzinfo=UTC)
MOST_ROWS = 10_000
Span = tuple[datetime, datetime]


class Dimension(StrEnum):
    """What spend is grouped by."""

    TENANT = "tenant"
    MODEL = "model"
    VERSION = "version"
    VARIANT = "variant"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Question:
    """Spend of requests that started in [since, until); None means without a bound, an empty filter all."""

    group_by: tuple[Dimension, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    tenant: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Spend:
    """Sums of one group: inferences, microseconds that servers worked on them, nano-dollars, those without a price."""

    group: tuple[str, ...]
    requests: int
    compute_us: int
    nanodollars: int
    unpriced: int


class SpendStore(Protocol):
    async def spend(self, question: Question) -> Sequence[Spend]:
        """By group ascending; at most one row more than MOST_ROWS. Without a dimension exactly one row."""
        ...


@dataclass(frozen=True, slots=True)
class Cover:
    """A span as whole hours [first, last) and at most two edges; they are disjoint and make up the span.

    A bound of None is open; `hours` of None means that the span lies within one hour.
    """

    hours: tuple[datetime | None, datetime | None] | None
    edges: tuple[Span, ...]


def cover(since: datetime | None, until: datetime | None) -> Cover:
    """Whole hours come from the hourly sums, edges from the entries themselves."""
    first = None if since is None else _next_hour(since)
    last = None if until is None else hour_of(until)
    if since and until and first and last and first > last:
        return Cover(None, ((since, until),))
    edges: list[Span] = []
    if since and first and since < first:
        edges.append((since, first))
    if until and last and last < until:
        edges.append((last, until))
    return Cover((first, last), tuple(edges))


def _next_hour(time: datetime) -> datetime:
    """The first whole hour that begins at this time or later; the end of time in its last hour."""
    if time > hour_of(LATEST):
        return LATEST
    return hour_of(time + (HOUR - timedelta(microseconds=1)))


def hour_of(time: datetime) -> datetime:
    """The hour in which a UTC time falls."""
    return time.replace(minute=0, second=0, microsecond=0)


def within_bounds(rows: Sequence[Spend]) -> Sequence[Spend]:
    """Raises Invalid when a question has more answers than fit."""
    if len(rows) > MOST_ROWS:
        fault = f"more than {MOST_ROWS} groups: ask for fewer dimensions, a shorter time, one tenant or one model"
        raise Invalid([Violation("group_by", fault)])
    return rows
