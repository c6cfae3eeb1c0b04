"""What is still to be written down: bounded, so that a store that is down costs history and never health."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from libs.errors import PASSING
from services.health_monitoring.domain.health import Remembered, Transition

log = logging.getLogger(__name__)

MOST_PENDING = 10_000
AGAIN_SECONDS = 1.0
KEPT = timedelta(days=30)
MOST_KEPT = 100_000
TIDY_EVERY = timedelta(hours=1)


class Store(Protocol):
    """Every method raises Unavailable while the store cannot be reached."""

    async def record(
        self, transitions: Sequence[Transition], remembered: Sequence[Remembered], gone: Sequence[str]
    ) -> None:
        """Write all of it or nothing. A transition that is there already is left as it is."""
        ...

    async def tidy(self, before: datetime, most: int) -> int:
        """Delete transitions older than this, and all but the newest `most`; how many were deleted."""
        ...


class Journal:
    """`note` never waits and never fails; `keep`, in the background, writes."""

    def __init__(self) -> None:
        self._pending: deque[Transition] = deque()
        self._dirty: set[str] = set()
        self._noted = asyncio.Event()
        self.lost = 0
        """Transitions that found no room while the store was down."""

    def note(self, identity: str, transition: Transition | None = None) -> None:
        """What is believed of this target (or that it is watched) has changed."""
        self._dirty.add(identity)
        if transition is not None:
            self._pending.append(transition)
            self._bound()
        self._noted.set()

    async def keep(
        self,
        store: Store,
        remembered: Callable[[str], Remembered | None],
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """For ever: write what was noted, and delete what is too old. `remembered` gives a target's newest state."""
        reachable, tidied = True, now() - TIDY_EVERY
        while True:
            await self._noted.wait()
            try:
                await self._write(store, remembered)
                if now() - tidied >= TIDY_EVERY:
                    await store.tidy(now() - KEPT, MOST_KEPT)
                    tidied = now()
            except PASSING as error:
                if reachable:
                    log.warning("transitions wait in memory, the oldest beyond %d are lost: %s", MOST_PENDING, error)
                reachable = False
                await sleep(AGAIN_SECONDS)
                continue
            if not reachable:
                log.info("transitions are written again, %d were lost", self.lost)
            reachable = True

    async def _write(self, store: Store, remembered: Callable[[str], Remembered | None]) -> None:
        self._noted.clear()
        transitions, self._pending = self._pending, deque()
        dirty, self._dirty = self._dirty, set()
        states = {identity: remembered(identity) for identity in sorted(dirty)}
        try:
            await store.record(
                list(transitions),
                [state for state in states.values() if state is not None],
                [identity for identity, state in states.items() if state is None],
            )
        except PASSING:
            self._dirty |= dirty
            self._pending.extendleft(reversed(transitions))
            self._bound()
            self._noted.set()
            raise

    def _bound(self) -> None:
        while len(self._pending) > MOST_PENDING:
            self._pending.popleft()
            self.lost += 1
