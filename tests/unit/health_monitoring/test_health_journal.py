"""What is to be written waits for a store that is down, but not without bound."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

import pytest

from libs.errors import Conflict, PenstockError, TooLate, Unavailable
from services.health_monitoring.domain import journal
from services.health_monitoring.domain.belief import State
from services.health_monitoring.domain.health import Remembered, Transition
from services.health_monitoring.domain.journal import Journal
from services.health_monitoring.domain.target import server

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Store:
    def __init__(self) -> None:
        self.down = False
        self.fault: PenstockError = Unavailable("STORE_UNAVAILABLE", "down")
        self.transitions: list[Transition] = []
        self.states: dict[str, Remembered] = {}
        self.tidied: list[datetime] = []
        self.tried = asyncio.Event()

    async def record(
        self, transitions: Sequence[Transition], remembered: Sequence[Remembered], gone: Sequence[str]
    ) -> None:
        self.tried.set()
        if self.down:
            raise self.fault
        self.transitions += transitions
        self.states.update({each.target.identity: each for each in remembered})
        for identity in gone:
            self.states.pop(identity, None)

    async def tidy(self, before: datetime, most: int) -> int:
        self.tidied.append(before)
        return most


class Written:
    """A journal that is being kept."""

    def __init__(self) -> None:
        self.journal, self.store = Journal(), Store()
        self.now = NOW
        self.believed: dict[str, Remembered] = {}
        self.again = asyncio.Event()

    async def __aenter__(self) -> Self:
        kept = self.journal.keep(self.store, self.believed.get, lambda: self.now, self._sleep)
        self._task = asyncio.create_task(kept)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _sleep(self, _seconds: float) -> None:
        await self.again.wait()

    def change(self, name: str, number: int = 0) -> Transition:
        target = server(name, "h:1")
        time = NOW + timedelta(seconds=number)
        self.believed[target.identity] = Remembered(target, State.HEALTHY, "fine", time, settled=True)
        transition = Transition(target.identity, State.UNKNOWN, State.HEALTHY, "fine", time)
        self.journal.note(target.identity, transition)
        return transition

    async def attempt(self) -> None:
        """Until the store was asked, and what followed from it has happened."""
        await self.store.tried.wait()
        self.store.tried.clear()
        for _ in range(5):
            await asyncio.sleep(0)


async def test_what_is_noted_is_written() -> None:
    async with Written() as it:
        change = it.change("a")
        await it.attempt()
        assert it.store.transitions == [change]
        assert it.store.states == it.believed


async def test_a_target_that_is_gone_is_forgotten_in_the_store_too() -> None:
    async with Written() as it:
        it.change("a")
        await it.attempt()
        del it.believed["server/a"]
        it.journal.note("server/a")
        await it.attempt()
        assert it.store.states == {}


@pytest.mark.parametrize(
    "fault",
    [
        Unavailable("STORE_UNAVAILABLE", "down"),
        TooLate("STORE_TIMEOUT", "given up"),
        Conflict("STORE_CONFLICT", "given up for another"),
    ],
    ids=lambda fault: fault.reason,
)
async def test_changes_wait_while_the_store_does_not_take_them_and_stay_in_order(fault: PenstockError) -> None:
    async with Written() as it:
        it.store.down, it.store.fault = True, fault
        first = it.change("a")
        await it.attempt()
        second = it.change("b", 1)
        it.store.down = False
        it.again.set()
        await it.attempt()
        assert it.store.transitions == [first, second]
        assert it.store.states == it.believed
        assert it.journal.lost == 0


async def test_beyond_the_bound_the_oldest_are_lost_and_counted() -> None:
    async with Written() as it:
        it.store.down = True
        changes = [it.change("a", n) for n in range(journal.MOST_PENDING + 3)]
        await it.attempt()
        it.store.down = False
        it.again.set()
        await it.attempt()
        assert it.store.transitions == changes[3:]
        assert it.journal.lost == 3


async def test_the_store_is_tidied_once_an_hour() -> None:
    async with Written() as it:
        for minutes in (0, 30, 61):
            it.now = NOW + timedelta(minutes=minutes)
            it.change("a", minutes)
            await it.attempt()
        assert it.store.tidied == [NOW - journal.KEPT, it.now - journal.KEPT]
