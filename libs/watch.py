"""Watches: a whole snapshot with a revision, then a new one at each change.

A revision is a hash of the content, so replicas that hold the same truth name it alike and a reader may resume at any.
A slow reader skips revisions; nothing is ever queued for it.
"""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

log = logging.getLogger(__name__)

Item = TypeVar("Item", bound=Message)
PART_BYTES = 1024 * 1024
RECONNECT_SECONDS = 0.5


@dataclass(frozen=True)
class Snapshot(Generic[Item]):
    revision: str
    items: tuple[Item, ...]

    def parts(self) -> Iterator[tuple[Sequence[Item], bool]]:
        """Runs of items of about 1 MiB each, and whether the run is the last; an empty snapshot is one empty run."""
        run: list[Item] = []
        size = 0
        for item in self.items:
            if run and size + item.ByteSize() > PART_BYTES:
                yield run, False
                run, size = [], 0
            run.append(item)
            size += item.ByteSize()
        yield run, True


def snapshot(items: Iterable[Item]) -> Snapshot[Item]:
    """In a canonical order, so that equal content has an equal revision."""
    encoded = sorted(((item.SerializeToString(deterministic=True), item) for item in items), key=lambda pair: pair[0])
    digest = hashlib.sha256()
    for data, _ in encoded:
        digest.update(len(data).to_bytes(8, "big") + data)
    return Snapshot(digest.hexdigest()[:16], tuple(item for _, item in encoded))


class Publisher(Generic[Item]):
    """Holds the newest snapshot. All methods belong to one event loop."""

    def __init__(self) -> None:
        self._current: Snapshot[Item] | None = None
        self._changed = asyncio.Event()

    @property
    def current(self) -> Snapshot[Item] | None:
        return self._current

    def publish(self, items: Iterable[Item]) -> bool:
        """Says whether anything changed."""
        new = snapshot(items)
        if self._current is not None and new.revision == self._current.revision:
            return False
        self._current = new
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return True

    async def watch(self, last_revision: str) -> AsyncIterator[Snapshot[Item] | None]:
        """Yields None once if `last_revision` is current, then every newer snapshot. Waits for the first one."""
        if self._current is not None and self._current.revision == last_revision:
            yield None
        seen = last_revision
        while True:
            changed = self._changed
            if self._current is not None and self._current.revision != seen:
                seen = self._current.revision
                yield self._current
            else:
                await changed.wait()


class Part(Protocol):
    """What every Watch…Response has."""

    @property
    def revision(self) -> str: ...
    @property
    def complete(self) -> bool: ...
    @property
    def unchanged(self) -> bool: ...


AnyPart = TypeVar("AnyPart", bound=Part)


async def follow(
    service: str,
    open_stream: Callable[[str], AsyncIterable[AnyPart]],
    items_of: Callable[[AnyPart], Iterable[Item]],
    *,
    reconnect_seconds: float = RECONNECT_SECONDS,
) -> AsyncIterator[Snapshot[Item]]:
    """Every complete snapshot of another service's watch, for ever; a broken stream is resumed at the last revision."""
    revision = ""
    reachable = True
    while True:
        try:
            async with aclosing(_complete(open_stream(revision), items_of)) as snapshots:
                async for new in snapshots:
                    if not reachable:
                        log.info("watching %s again", service)
                        reachable = True
                    revision = new.revision
                    yield new
        except grpc.aio.AioRpcError as error:
            if reachable:
                log.warning("watch of %s broke: %s %s", service, error.code().name, error.details())
            reachable = False
        await asyncio.sleep(reconnect_seconds)


async def _complete(
    stream: AsyncIterable[AnyPart], items_of: Callable[[AnyPart], Iterable[Item]]
) -> AsyncGenerator[Snapshot[Item]]:
    pending: list[Item] = []
    async for part in stream:
        if part.unchanged:
            continue
        pending.extend(items_of(part))
        if part.complete:
            yield Snapshot(part.revision, tuple(pending))
            pending = []
