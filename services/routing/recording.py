"""Snapshots go into the history after they were published: off the path, and never in its way."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from prometheus_client import Counter

from libs.clock import Clock
from libs.errors import PASSING
from services.routing.domain.apart import Apart, take_apart
from services.routing.domain.history import Count, Entry, HistoryStore, Write, counted
from services.routing.domain.parts import ROUTE, Delta, Input, decode, is_input
from services.routing.domain.policy import Inputs
from services.routing.domain.reasons import Changes, authors, reasons
from services.routing.domain.snapshot import Snapshot

log = logging.getLogger(__name__)

RECORDED = Counter("penstock_policy_snapshots_recorded", "Snapshots that were put into the history.")
UNRECORDED = Counter("penstock_policy_snapshots_unrecorded", "Snapshots that the history tells only with a later one.")

AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Published:
    snapshot: Snapshot
    inputs: Inputs
    time: datetime


@dataclass(frozen=True, slots=True)
class _Head:
    """The newest recorded snapshot."""

    number: int
    apart: Apart


class Recorder:
    """Holds one snapshot at most: what is published while another is written, or while Postgres cannot be reached, is
    told together with the next and counted. Belongs to one event loop.
    """

    def __init__(self, store: HistoryStore, clock: Clock, *, again_seconds: float = AGAIN_SECONDS) -> None:
        self._store = store
        self._clock = clock
        self._again = again_seconds
        self._newest: tuple[Entry, Snapshot] | None = None
        self._head: _Head | None = None
        self._waiting: _Published | None = None
        self._news = asyncio.Event()
        self._missed = 0
        self._unreachable = False

    @property
    def newest(self) -> tuple[Entry, Snapshot] | None:
        """What was published last; as an entry without a number until it is recorded."""
        return self._newest

    def note(self, snapshot: Snapshot, inputs: Inputs) -> None:
        """A snapshot was published. Returns at once."""
        if self._waiting is not None and self._waiting.snapshot.revision != snapshot.revision:
            self._missed += 1
        now = self._clock.now()
        self._waiting = _Published(snapshot, inputs, now)
        if self._newest is None or self._newest[1].revision != snapshot.revision:
            self._newest = Entry(0, snapshot.revision, now), snapshot
        self._news.set()

    async def run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            taken, self._waiting = self._waiting, None
            if taken is None:
                continue
            try:
                await self._record(taken)
            except PASSING as error:
                if not self._unreachable:
                    log.warning("the history waits, the policy does not: %s", error)
                self._unreachable = True
            except Exception:  # a snapshot that cannot be recorded must not end the process that publishes policy
                log.exception("snapshot %s was not recorded", taken.snapshot.revision)
                self._head = None
                self._missed += 1
                continue
            else:
                self._unreachable = False
                continue
            if self._waiting is None:
                self._waiting = taken
            elif self._waiting.snapshot.revision != taken.snapshot.revision:
                self._missed += 1
            await asyncio.sleep(self._again)
            self._news.set()

    async def _record(self, published: _Published) -> None:
        recorded = None
        while recorded is None:
            head = self._head or await self._stored()
            now, change = await asyncio.to_thread(take_apart, head.apart, published.snapshot, published.inputs)
            if not change.worth_telling:
                self._head = head
                if self._newest is not None and not self._newest[0].number:
                    self._know(next(iter(await self._store.list(0, 1)), None))
                return  # facts that change nothing, and weights, are told with what else changes
            changes = await self._changes(head.apart, now, change)
            routes = {name: now.manifest.get((kind, name), "") for kind, name in changes if kind == ROUTE}
            writes = await self._store.writes(routes)
            counts = counted(head.apart.manifest, change, now.totals)
            entry = self._entry(published, head.number, counts, changes, writes)
            bodies = await asyncio.to_thread(now.bodies, change.put)
            recorded = await self._store.append(head.number, entry, change, bodies, writes)
            self._head = None if recorded is None else _Head(recorded.number, now)
        self._know(recorded)
        RECORDED.inc()
        UNRECORDED.inc(recorded.unrecorded)
        self._missed -= recorded.unrecorded

    def _know(self, recorded: Entry | None) -> None:
        newest = self._newest
        if recorded is not None and newest is not None and newest[1].revision == recorded.revision:
            self._newest = recorded, newest[1]

    async def _stored(self) -> _Head:
        head = await self._store.head()
        return _Head(head.number, Apart(head.manifest))

    async def _changes(self, before: Apart, now: Apart, change: Delta) -> Changes:
        keys = [key for key in change.keys if is_input(key)]
        hashes = {key: before.manifest[key] for key in keys if key in before.manifest}
        bodies = await self._store.bodies(hashes.values())
        old = await asyncio.to_thread(lambda: {key: decode(key[0], bodies[hashes[key]]) for key in hashes})
        return {key: (old.get(key), cast(Input | None, now.thing(key))) for key in keys}

    def _entry(
        self, published: _Published, base: int, counts: tuple[Count, ...], changes: Changes, writes: Sequence[Write]
    ) -> Entry:
        who, why = authors(changes, writes), reasons(changes, writes)
        if base == 0:
            who, why = ("routing",), ("the first snapshot that is recorded",)
        elif not changes:
            who, why = ("routing",), ("the same inputs, compiled otherwise: another release of routing",)
        if self._missed and self._unreachable:
            why = (f"not recorded before it, Postgres could not be reached: {self._missed} snapshots", *why)
        return Entry(
            number=0,
            revision=published.snapshot.revision,
            time=published.time,
            authors=who,
            reasons=why,
            counts=counts,
            unrecorded=self._missed,
        )
