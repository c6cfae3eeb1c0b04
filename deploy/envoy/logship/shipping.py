"""Delivers the record log to one sink, at its own pace, from its own place."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace

from deploy.envoy.logship import metrics
from deploy.envoy.logship.lines import Chunk
from deploy.envoy.logship.places import Place, Places
from deploy.envoy.logship.record_log import Gone, LogFile, RecordLog
from deploy.envoy.logship.sinks import Parcel, Sink, Undelivered

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
"""Envoy flushes twice as often; each delivery costs every sink a commit."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0


class Shipment:
    """One sink's. `run` it for ever; `finished_with` may be asked at any time."""

    def __init__(
        self, proxy: str, record_log: RecordLog, sink: Sink, places: Places, now: Callable[[], float] = time.time
    ) -> None:
        self._proxy = proxy
        self._log = record_log
        self._sink = sink
        self._places = places
        self._trusted: set[str] = set()
        self._oldest_ns: int | None = None
        metrics.LAG_SECONDS.labels(sink.name).set_function(
            lambda: max(0.0, now() - self._oldest_ns / 1e9) if self._oldest_ns else 0.0
        )

    async def run(self) -> None:
        pause = 0.0
        while True:
            try:
                moved = await self.step()
                if pause:
                    log.info("%s takes records again", self._sink.name)
                pause = 0.0
            except Undelivered as error:
                metrics.FAILURES.labels(self._sink.name).inc()
                if not pause:
                    log.warning("%s takes no records: %s", self._sink.name, error)
                pause = min(pause * 2 or FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
                moved = False
            if not moved:
                await asyncio.sleep(pause or POLL_SECONDS)

    def finished_with(self, file: LogFile) -> bool:
        """Whether the sink has all that was ever written to the file."""
        return file.finished and self._places.of(file.identity).offset >= file.size

    async def step(self) -> bool:
        """Deliver the oldest lines that the sink has not taken. False when there are none. Raises Undelivered."""
        files = self._log.files()
        known = frozenset(file.identity for file in files)
        self._trusted &= known
        try:
            for file in files:
                await self._trust(file, known)
            lag = sum(max(0, file.size - self._places.of(file.identity).offset) for file in files)
            metrics.LAG_BYTES.labels(self._sink.name).set(lag)
            for file in files:
                chunk = self._unread(file)
                if chunk:
                    self._oldest_ns = chunk.first_ns or self._oldest_ns
                    await self._deliver(file, chunk, known)
                    return True
        except Gone as error:
            log.debug("%s; looking again", error)
            return True
        self._oldest_ns = None
        return False

    def _unread(self, file: LogFile) -> Chunk | None:
        offset = self._places.of(file.identity).offset
        return self._log.read(file, offset) if offset < file.size else None

    async def _deliver(self, file: LogFile, chunk: Chunk, known: frozenset[str]) -> None:
        place = self._places.of(file.identity)
        # before the sink is asked: while it works, the file may be set aside
        mark = self._log.mark(file, chunk.end)
        committed = await self._sink.deliver(Parcel(self._proxy, place.name(file.identity), chunk))
        if committed == chunk.end:
            metrics.DELIVERED.labels(self._sink.name).inc(len(chunk.records))
        elif committed == chunk.start:
            raise Undelivered("it took nothing of what it asked for")
        else:
            mark = self._log.mark(self._log.again(file), committed)
        if mark is None:
            await self._begin_anew(file, known, f"its sink is at {committed}, where no line begins")
            raise Undelivered("the file is not the one that it knows")
        await self._save(file, replace(place, offset=committed, mark=mark), known)

    async def _trust(self, file: LogFile, known: frozenset[str]) -> None:
        """A file may have lost its end with the machine's power, and have grown again: then it is another file."""
        place = self._places.of(file.identity)
        if file.identity in self._trusted and place.offset <= file.size:
            return
        if self._log.mark(file, place.offset) != place.mark:
            await self._begin_anew(file, known, f"what stood before {place.offset} is not there any more")
        self._trusted.add(file.identity)

    async def _begin_anew(self, file: LogFile, known: frozenset[str], why: str) -> None:
        log.error("%s was rewritten and is delivered to %s from its beginning: %s", file.path, self._sink.name, why)
        metrics.REWRITTEN.labels(self._sink.name).inc()
        self._log.forget_chunks()
        await self._save(file, Place(generation=self._places.of(file.identity).generation + 1), known)

    async def _save(self, file: LogFile, place: Place, known: frozenset[str]) -> None:
        # beside the event loop: the disk of one sink's place must not hold up another sink
        await asyncio.to_thread(self._places.save, file.identity, place, known)
