"""Writes: first to history, which keeps everything, then online, where the newest stands.

When the second fails the caller hears of it and sends the same again: history takes a row twice without harm and an
event once, and online nothing changes that has already arrived.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.feature_store.domain.columns import Column, Ints, Rows
from services.feature_store.domain.definitions import StreamSource
from services.feature_store.domain.history import HistoryStore, Seen
from services.feature_store.domain.keys import Instances, instance_key
from services.feature_store.domain.online import OnlineEvent, OnlineRow, OnlineStore, event_packed, kept_us
from services.feature_store.domain.plan import StoredView


@dataclass(frozen=True)
class OnlineWriter:
    """The second half of every write."""

    store: OnlineStore

    async def put_rows(self, tenant: str, stored: StoredView, rows: Rows) -> int:
        """The newest row of each instance; how many of them are now what readers get."""
        instances = Instances(stored.entity.join_keys, rows.columns)
        newest = rows.take(_newest(instances.codes, rows))
        keys = [instance_key(tenant, stored.entity.name, key) for key in instances.distinct]
        times = zip(newest.event_us.tolist(), newest.created_us.tolist(), strict=True)
        packed = stored.codec.encode(newest)
        online = [OnlineRow(k, event, created, p) for k, (event, created), p in zip(keys, times, packed, strict=True)]
        return await self.store.put_rows(stored.view.view_id, online)

    async def put_events(self, tenant: str, stored: StoredView, rows: Rows, event_ids: Sequence[str]) -> None:
        source = stored.view.source
        assert isinstance(source, StreamSource)  # noqa: S101  only a stream view has events
        online = [
            OnlineEvent(key, event_us, event_packed(event_id, event))
            for (key, event), event_us, event_id in zip(
                keyed(tenant, stored, rows), rows.event_us.tolist(), event_ids, strict=True
            )
        ]
        await self.store.put_events(stored.view.view_id, kept_us(source), online)


@dataclass(frozen=True)
class Writer:
    history: HistoryStore
    online: OnlineWriter

    async def write(self, tenant: str, stored: StoredView, rows: Rows) -> int:
        """Rows of a batch view, with all its columns; how many of them are now what readers get online."""
        await self.history.append_rows(stored, rows)
        return await self.online.put_rows(tenant, stored, rows)

    async def push(self, tenant: str, stored: StoredView, rows: Rows, event_ids: Sequence[str]) -> Ints:
        """Events of a stream view, with all its columns; says of each whether it is new (`Seen`)."""
        digests = [hashlib.blake2b(key + e, digest_size=16).digest() for key, e in keyed(tenant, stored, rows)]
        seen = await self.history.append_events(stored, rows, event_ids, digests)
        # a repeat may be the retry of a push that did not get so far
        agreeing = np.flatnonzero(seen != Seen.CONFLICTING)
        ids = [event_ids[i] for i in agreeing.tolist()]
        await self.online.put_events(tenant, stored, rows.take(agreeing), ids)
        return seen


def keyed(tenant: str, stored: StoredView, events: Rows) -> list[tuple[bytes, bytes]]:
    """Each event with the key of its instance. When it became known is not part of what it says."""
    instances = Instances(stored.entity.join_keys, events.columns)
    keys = [instance_key(tenant, stored.entity.name, key) for key in instances.distinct]
    packed = stored.codec.encode(Rows(events.event_us, np.zeros(len(events), np.int64), events.columns))
    return [(keys[code], event) for code, event in zip(instances.codes.tolist(), packed, strict=True)]


def completed(stored: StoredView, columns: Mapping[str, Column], event_us: Ints, created_us: Ints) -> Rows:
    """Rows with every column of the view; those that were not sent are null."""
    fields = (*stored.entity.join_keys, *stored.view.stored)
    nulls = {field.name: Column.nulls(field.type, len(event_us)) for field in fields}
    return Rows(event_us, created_us, {**nulls, **columns})


def _newest(codes: Ints, rows: Rows) -> Ints:
    """For each instance, in the order of their numbers, its row of greatest (event time, created time)."""
    order = np.lexsort((rows.created_us, rows.event_us, codes))
    return order[np.append(np.flatnonzero(np.diff(codes[order])), len(order) - 1)]
