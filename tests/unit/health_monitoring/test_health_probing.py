"""When targets are probed, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.health_monitoring.domain.belief import Belief, Outcome, Probe, Thresholds, after_probe, nothing
from services.health_monitoring.domain.probing import Ask, Probing, Rhythm
from services.health_monitoring.domain.target import Target, server

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
A, B = server("a", "h:1"), server("b", "h:2")
RHYTHM = Rhythm(interval=10, limit=5)


class Time:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._order), woken))
        await woken.wait()

    async def pass_until(self, moment: float) -> None:
        await settle()
        while self._sleepers and self._sleepers[0][0] <= moment:
            self.now, _, woken = heapq.heappop(self._sleepers)
            woken.set()
            await settle()
        self.now = moment


async def settle() -> None:
    """Let every task run until it waits for time."""
    for _ in range(20):
        await asyncio.sleep(0)


class World:
    """Targets that answer as the test says, and what was believed of them."""

    def __init__(self) -> None:
        self.time = Time()
        self.answers: defaultdict[str, Outcome] = defaultdict(lambda: Outcome.PASSED)
        self.asked: defaultdict[str, list[float]] = defaultdict(list)
        self.open: set[str] = set()
        self.beliefs: dict[str, Belief] = {}

    @asynccontextmanager
    async def prober(self, target: Target) -> AsyncGenerator[Ask]:
        async def ask(within: float) -> Probe | None:
            self.asked[target.name].append(self.time.now)
            outcome = self.answers[target.name]
            if outcome is Outcome.UNANSWERED:
                await self.time.sleep(within)
            return Probe(NOW, outcome, "", 0.0)

        self.open.add(target.name)
        try:
            yield ask
        finally:
            self.open.remove(target.name)

    def tell(self, target: Target, probe: Probe) -> Belief:
        before = self.beliefs.get(target.name, nothing(NOW))
        self.beliefs[target.name] = after_probe(before, probe, Thresholds())
        return self.beliefs[target.name]


@pytest.fixture
async def world() -> AsyncGenerator[tuple[World, Probing]]:
    world = World()
    probing = Probing(
        world.prober,
        RHYTHM,
        world.tell,
        monotonic=world.time.monotonic,
        sleep=world.time.sleep,
        chance=lambda: 0.5,
    )
    running = asyncio.create_task(probing.run())
    yield world, probing
    running.cancel()
    await asyncio.wait([running])


async def test_a_healthy_target_is_probed_once_an_interval(world: tuple[World, Probing]) -> None:
    it, probing = world
    probing.watch([A])
    await it.time.pass_until(35)
    assert it.asked["a"] == [0, 10, 20, 30]


async def test_a_target_that_hangs_delays_no_other(world: tuple[World, Probing]) -> None:
    it, probing = world
    it.answers["a"] = Outcome.UNANSWERED
    probing.watch([A, B])
    await it.time.pass_until(35)
    assert it.asked["b"] == [0, 10, 20, 30]


async def test_doubt_is_settled_soon(world: tuple[World, Probing]) -> None:
    it, probing = world
    probing.watch([A])
    await it.time.pass_until(5)
    it.answers["a"] = Outcome.FAILED
    await it.time.pass_until(35)
    assert it.asked["a"] == [0, 10, 12.5, 22.5, 32.5]
    it.answers["a"] = Outcome.PASSED
    await it.time.pass_until(50)
    assert it.asked["a"][5:] == [42.5, 45]


async def test_a_silent_target_is_found_out_within_an_interval_and_two_limits(world: tuple[World, Probing]) -> None:
    it, probing = world
    probing.watch([A])
    await it.time.pass_until(1)
    it.answers["a"] = Outcome.UNANSWERED
    await it.time.pass_until(10 + 2 * 5)
    assert it.beliefs["a"].settled
    assert it.beliefs["a"].state.value == "UNKNOWN"


async def test_targets_come_move_and_go(world: tuple[World, Probing]) -> None:
    it, probing = world
    probing.watch([A])
    await it.time.pass_until(1)
    assert it.open == {"a"}
    probing.watch([server("a", "h:9"), B])
    await it.time.pass_until(2)
    assert it.asked["a"] == [0, 1]
    probing.watch([B])
    await it.time.pass_until(30)
    assert it.open == {"b"}
    assert it.asked["a"] == [0, 1]


async def test_a_fault_of_ours_ends_the_work_instead_of_a_target() -> None:
    @asynccontextmanager
    async def broken(_target: Target) -> AsyncGenerator[Ask]:
        raise ZeroDivisionError
        yield  # pyright: ignore[reportUnreachable]  makes it a generator

    probing = Probing(broken, RHYTHM, lambda *_: None)
    probing.watch([A])
    with pytest.raises(ExceptionGroup) as raised:
        await probing.run()
    assert raised.group_contains(ZeroDivisionError)


@given(st.floats(0.1, 100), st.floats(0, 200), st.booleans(), st.floats(0, 1, exclude_max=True))
def test_pauses_are_never_negative_and_never_longer_than_an_interval_and_its_jitter(
    interval: float, took: float, in_doubt: bool, chance: float
) -> None:
    pause = Rhythm(interval, interval / 2).pause(took, in_doubt=in_doubt, chance=chance)
    assert 0 <= pause <= 1.1 * interval * (0.25 if in_doubt else 1) + 1e-9
