"""When each target is probed: every target has a task of its own, so none delays another."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from services.health_monitoring.domain.belief import Belief, Probe
from services.health_monitoring.domain.target import Target

JITTER = 0.1
DOUBT = 0.25


class Ask(Protocol):
    """Probes one target over and over."""

    async def __call__(self, within: float) -> Probe | None:
        """Never raises, and never takes much longer than `within` seconds.

        None when the probe says nothing of the target: this process itself was too late to hear the answer.
        """
        ...


Prober = Callable[[Target], AbstractAsyncContextManager[Ask]]


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Seconds from the start of a probe to the start of the next, and how long an answer may take."""

    interval: float
    limit: float

    def pause(self, took: float, *, in_doubt: bool, chance: float) -> float:
        """What to wait after a probe that took so long. `chance` in [0, 1) spreads probes of many targets by 10 %.

        While the newest probe contradicts what is believed, the next one comes in a quarter of the interval.
        """
        period = self.interval * (DOUBT if in_doubt else 1.0) * (1 + JITTER * (2 * chance - 1))
        return max(0.0, period - took)


class Probing:
    """Probes what `watch` named last."""

    def __init__(
        self,
        prober: Prober,
        rhythm: Rhythm,
        tell: Callable[[Target, Probe], Belief | None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`tell` takes each probe and returns what is now believed; None when the target is watched no more."""
        self._prober = prober
        self._rhythm = rhythm
        self._tell = tell
        self._monotonic = monotonic
        self._sleep = sleep
        self._chance = chance
        self._wanted: frozenset[Target] = frozenset()
        self._named = asyncio.Event()

    def watch(self, targets: Iterable[Target]) -> None:
        self._wanted = frozenset(targets)
        self._named.set()

    async def run(self) -> None:
        """For ever; ends only by an error that is a fault of ours."""
        tasks: dict[Target, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                await self._named.wait()
                self._named.clear()
                for target in tasks.keys() - self._wanted:
                    tasks.pop(target).cancel()
                for target in self._wanted - tasks.keys():
                    tasks[target] = group.create_task(self._probe(target), name=f"probe {target.identity}")

    async def _probe(self, target: Target) -> None:
        async with self._prober(target) as ask:
            while True:
                started = self._monotonic()
                probe = await ask(self._rhythm.limit)
                belief = self._tell(target, probe) if probe else None
                took = self._monotonic() - started
                in_doubt = belief is None or belief.in_doubt
                await self._sleep(self._rhythm.pause(took, in_doubt=in_doubt, chance=self._chance()))
