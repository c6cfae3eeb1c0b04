"""Filling the online store from history when it has lost something: all of it, or the last second before a crash."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from libs.errors import PenstockError
from services.feature_store.domain.columns import Ints, Rows
from services.feature_store.domain.definitions import StreamSource
from services.feature_store.domain.keys import Instances
from services.feature_store.domain.online import kept_us
from services.feature_store.domain.plan import StoredView
from services.feature_store.domain.writing import OnlineWriter

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.5
EVENTS_AT_ONCE = 10_000


class Fillable(Protocol):
    """An online store that knows whether it is whole."""

    async def check(self) -> bool:
        """Whether all that was ever written can still be there."""
        ...

    async def filled(self) -> None:
        """It is whole now, unless it has lost something since the last check."""
        ...


class Registry(Protocol):
    async def stored_views(self) -> Sequence[tuple[str, StoredView]]:
        """All batch and stream views of all tenants, each with its tenant."""
        ...


class Archive(Protocol):
    def alone(self) -> AbstractAsyncContextManager[bool]:
        """True for one process at a time."""
        ...

    async def everything(self, stored: StoredView) -> tuple[Rows, Sequence[str]]:
        """All rows of a view in the order of writing, and the ids of a stream view's events."""
        ...


@dataclass(frozen=True)
class Restorer:
    """Repeats what was written: online nothing becomes older by that, and no event comes twice."""

    registry: Registry
    archive: Archive
    store: Fillable
    writer: OnlineWriter

    async def keep_whole(self) -> None:
        """For ever."""
        fault = ""
        while True:
            try:
                await self.restore()
                fault = ""
            except (PenstockError, TimeoutError) as error:
                if str(error) != fault:
                    log.warning("the online store is not filled: %s", error)
                fault = str(error)
            await asyncio.sleep(CHECK_SECONDS)

    async def restore(self) -> None:
        """Once, if it must be and no other process does."""
        if await self.store.check():
            return
        async with self.archive.alone() as alone:
            if not alone or await self.store.check():
                return
            for tenant, stored in await self.registry.stored_views():
                rows, event_ids = await self.archive.everything(stored)
                if not len(rows):
                    continue
                log.info("filling the online store with %s of %s", stored.view.name, tenant)
                if isinstance(stored.view.source, StreamSource):
                    await self._put_events(tenant, stored, rows, event_ids)
                else:
                    await self.writer.put_rows(tenant, stored, rows)
            await self.store.filled()

    async def _put_events(self, tenant: str, stored: StoredView, rows: Rows, event_ids: Sequence[str]) -> None:
        kept = _kept(stored, rows)
        for start in range(0, len(kept), EVENTS_AT_ONCE):
            some = kept[start : start + EVENTS_AT_ONCE]
            await self.writer.put_events(tenant, stored, rows.take(some), [event_ids[int(i)] for i in some])


def _kept(stored: StoredView, rows: Rows) -> Ints:
    """Those that the online store would not let go at once."""
    source = stored.view.source
    assert isinstance(source, StreamSource)  # noqa: S101  only a stream view has events
    codes = Instances(stored.entity.join_keys, rows.columns).codes
    newest = np.full(codes.max() + 1, np.iinfo(np.int64).min)
    np.maximum.at(newest, codes, rows.event_us)
    return np.flatnonzero(rows.event_us >= newest[codes] - kept_us(source))
