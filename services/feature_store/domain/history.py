"""Features as they were: every row of a request gets what was known at its time, and nothing later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np

from services.feature_store.domain.columns import Column, Ints, Rows
from services.feature_store.domain.definitions import StreamSource
from services.feature_store.domain.features import Feature, of_rows
from services.feature_store.domain.keys import Instances
from services.feature_store.domain.plan import Plan, StoredView
from services.feature_store.domain.timeline import Timeline
from services.feature_store.domain.windows import over_windows

_EVER_US = np.iinfo(np.int64).min


class Seen(IntEnum):
    """What an event id was when it came."""

    NEW = 0
    REPEATED = 1
    CONFLICTING = 2
    """Seen with another content."""


class HistoryStore(Protocol):
    """Everything that was ever written. What a call has written is read by every later one, and survives a crash."""

    async def append_rows(self, stored: StoredView, rows: Rows) -> None:
        """`rows` hold join keys and features."""
        ...

    async def append_events(self, stored: StoredView, rows: Rows, ids: Sequence[str], digests: Sequence[bytes]) -> Ints:
        """Append those whose id is new, and say of each what it was. A digest stands for the content of its event."""
        ...

    async def read(self, stored: StoredView, names: Sequence[str], since_us: int | None, until_us: int) -> Rows:
        """Join keys and named fields of the rows with since_us <= event time <= until_us, in the order of writing."""
        ...


@dataclass(frozen=True)
class HistoryReader:
    store: HistoryStore

    async def rows(self, plan: Plan, as_of_us: Ints) -> list[Rows]:
        """What the join needs of each stored view of the plan."""
        return [await self._rows(stored, int(as_of_us.min()), int(as_of_us.max())) for stored in plan.stored]

    async def _rows(self, stored: StoredView, first_us: int, last_us: int) -> Rows:
        source = stored.view.source
        if not isinstance(source, StreamSource):
            # not only the rows that are fresh: one that is too old must be told from none
            return await self.store.read(stored, stored.features, None, last_us)
        wanted = [a for a in source.aggregations if a.feature in stored.features]
        fields = sorted({a.field for a in wanted if a.field})
        return await self.store.read(stored, fields, first_us - max(a.window_us for a in wanted), last_us)


def join(
    plan: Plan, history: Sequence[Rows], entities: Mapping[str, Column], as_of_us: Ints
) -> dict[tuple[str, str], Feature]:
    """Every (view, feature) of the plan's stored views at each row's time.

    Of a batch view the row with the greatest (event time, created time) that is not after it; of two that tie in both,
    the one written last. Of a stream view the windows that end before it.
    """
    named = {s.entity.name: Instances(s.entity.join_keys, entities) for s in plan.stored}
    found: dict[tuple[str, str], Feature] = {}
    for stored, rows in zip(plan.stored, history, strict=True):
        instances = named[stored.entity.name]
        instance_of = instances.find(rows.columns)
        asked_for = np.flatnonzero(instance_of >= 0)
        features = _at(stored, rows.take(asked_for), instance_of[asked_for], instances.codes, as_of_us)
        found |= {(stored.view.name, name): feature for name, feature in features.items()}
    return found


def _at(stored: StoredView, rows: Rows, instance_of: Ints, codes: Ints, as_of_us: Ints) -> dict[str, Feature]:
    source = stored.view.source
    if isinstance(source, StreamSource):
        complete_from_us = np.full(len(codes), _EVER_US)
        return over_windows(source, stored.features, rows, instance_of, codes, as_of_us, complete_from_us)
    timeline = Timeline(instance_of, rows.event_us, rows.created_us)
    end = timeline.through(codes, as_of_us)
    some = end > timeline.start(codes)
    row_of = np.where(some, np.append(timeline.order, -1)[end - 1], -1)
    return of_rows(rows, stored.features, row_of, as_of_us, stored.view.ttl_us)
