"""Snapshots go into the history after they were published: off the path, and never in its way."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import Counter

from libs.clock import Clock
from libs.errors import Unavailable
from services.routing.domain.history import Entry, Head, HistoryStore, Write, counted
from services.routing.domain.parts import (
    ROUTE,
    Delta,
    Input,
    Key,
    bodies_of,
    content_hash,
    decode,
    delta,
    encode,
    inputs_by_key,
    is_input,
    resources_of,
)
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
class _Taken:
    """A snapshot apart, compared with the newest recorded one."""

    manifest: dict[Key, str]
    change: Delta
    inputs: dict[Key, Input]


class Recorder:
    """Holds one snapshot at most: what is published while another is written, or while Postgres cannot be reached, is
    told together with the next and counted. Belongs to one event loop.
    """

    def __init__(self, store: HistoryStore, clock: Clock, *, again_seconds: float = AGAIN_SECONDS) -> None:
        self._store = store
        self._clock = clock
        self._again = again_seconds
        self._newest: tuple[Entry, Snapshot] | None = None
        self._head: Head | None = None
        self._waiting: _Published | None = None
        self._news = asyncio.Event()
        self._missed = 0
        self._unreachable = False
        self._encoded: dict[Key, tuple[Input, bytes, str]] = {}

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
            except Unavailable as error:
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
            head = self._head or await self._store.head()
            taken = await asyncio.to_thread(self._take, published, head)
            if not any(key[0] == ROUTE or not is_input(key) for key in taken.change.keys):
                self._head = head
                if self._newest is not None and not self._newest[0].number:
                    self._know(next(iter(await self._store.list(0, 1)), None))
                return  # it is what is recorded; facts that changed nothing are told with what they do change
            changes = await self._changes(head, taken)
            writes = await self._store.writes({name: _hash(taken, name) for kind, name in changes if kind == ROUTE})
            entry = self._entry(published, head, taken, changes, writes)
            bodies = await asyncio.to_thread(self._bodies, published.snapshot, taken.change)
            recorded = await self._store.append(head.number, entry, taken.change, bodies, writes)
            self._head = None if recorded is None else Head(recorded.number, taken.manifest)
        self._know(recorded)
        RECORDED.inc()
        UNRECORDED.inc(recorded.unrecorded)
        self._missed -= recorded.unrecorded

    def _know(self, recorded: Entry | None) -> None:
        newest = self._newest
        if recorded is not None and newest is not None and newest[1].revision == recorded.revision:
            self._newest = recorded, newest[1]

    def _take(self, published: _Published, head: Head) -> _Taken:
        """Encodes only the inputs that are others than the last time."""
        inputs = inputs_by_key(published.inputs)
        known = self._encoded
        self._encoded = {
            key: before if (before := known.get(key)) is not None and before[0] == each else _encoding(each)
            for key, each in inputs.items()
        }
        manifest = {key: content for key, (_, _, content) in self._encoded.items()} | resources_of(published.snapshot)
        return _Taken(manifest, delta(head.manifest, manifest), inputs)

    def _bodies(self, snapshot: Snapshot, change: Delta) -> dict[str, bytes]:
        resources = [key for key in change.put if not is_input(key)]
        own = {self._encoded[key][2]: self._encoded[key][1] for key in change.put if is_input(key)}
        return own | bodies_of(snapshot, resources)

    async def _changes(self, head: Head, taken: _Taken) -> Changes:
        keys = [key for key in taken.change.keys if is_input(key)]
        hashes = {key: head.manifest[key] for key in keys if key in head.manifest}
        bodies = await self._store.bodies(hashes.values())
        return {
            key: (decode(key[0], bodies[hashes[key]]) if key in hashes else None, taken.inputs.get(key)) for key in keys
        }

    def _entry(
        self, published: _Published, head: Head, taken: _Taken, changes: Changes, writes: Sequence[Write]
    ) -> Entry:
        who, why = authors(changes, writes), reasons(changes, writes)
        if head.number == 0:
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
            counts=counted(head.manifest, taken.manifest, taken.change),
            unrecorded=self._missed,
        )


def _encoding(value: Input) -> tuple[Input, bytes, str]:
    body = encode(value)
    return value, body, content_hash(body)


def _hash(taken: _Taken, model: str) -> str:
    return taken.manifest.get((ROUTE, model), "")
