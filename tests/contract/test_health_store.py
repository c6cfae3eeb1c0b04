"""What a store of health_monitoring promises, run on every store."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import services.health_monitoring
from libs.errors import Invalid, Unavailable
from libs.paging import Page, page
from libs.postgres import Database
from services.health_monitoring.domain.belief import State
from services.health_monitoring.domain.health import Remembered, Transition
from services.health_monitoring.domain.target import model_version, server, service
from services.health_monitoring.store import PostgresStore
from tests.contract.health_in_memory import HealthInMemory

MIGRATIONS = Path(services.health_monitoring.__file__).parent / "migrations"
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
A = Remembered(server("a", "h:1"), State.HEALTHY, "a probe passed", NOON, settled=True)
M = Remembered(model_version("m", "1", "a", "h:1"), State.UNKNOWN, "not probed yet", NOON, settled=False)
ROUTING = Remembered(service("routing", "h:9"), State.UNHEALTHY, "refused", NOON, settled=True)


def change(target, seconds, after=State.HEALTHY):
    return Transition(target, State.UNKNOWN, after, f"after {seconds} s", NOON + timedelta(seconds=seconds))


@pytest.fixture
async def in_memory():
    return HealthInMemory()


@pytest.fixture
async def in_postgres(fresh_database):
    database = Database(fresh_database, "health_monitoring", MIGRATIONS)
    keeping = asyncio.create_task(database.keep_open())
    await database.connected()
    yield PostgresStore(database)
    keeping.cancel()
    await asyncio.wait([keeping])
    await database.close()


@pytest.fixture(params=["in_memory", "in_postgres"])
def store(request):
    return request.getfixturevalue(request.param)


async def listed(store, target="", since=None, size=100):
    """Every page, read to its end."""
    found, token = [], ""
    while True:
        rows, token = await store.transitions(target, since, page(size, token, keys=2))
        found += rows
        assert len(rows) <= size
        if not token:
            return found


async def test_an_empty_store_remembers_nothing(store):
    assert await store.remembered() == []
    assert await store.recent(20) == []
    assert await listed(store) == []


async def test_what_is_recorded_is_remembered(store):
    await store.record([], [ROUTING, M, A], [])
    assert await store.remembered() == [M, A, ROUTING]


async def test_a_target_is_remembered_as_it_is_now(store):
    await store.record([], [A, M], [])
    later = replace(A, target=server("a", "h:2"), state=State.UNKNOWN, reason="silent", since=NOON + timedelta(1))
    later = replace(later, weight=80, weight_reason="slow")
    await store.record([], [later], [])
    assert await store.remembered() == [M, later]


async def test_a_target_that_is_gone_is_forgotten_its_changes_are_not(store):
    await store.record([change("server/a", 1)], [A, M], [])
    await store.record([], [], ["server/a", "server/never-there"])
    assert await store.remembered() == [M]
    assert await listed(store) == [change("server/a", 1)]
    assert await store.recent(20) == []


async def test_changes_are_listed_newest_first(store):
    changes = [change("server/a", n) for n in range(5)] + [change("server/b", 2)]
    await store.record(changes, [], [])
    expected = sorted(changes, key=lambda each: (each.time, each.target), reverse=True)
    assert await listed(store) == expected
    assert await listed(store, size=1) == expected
    assert await listed(store, size=4) == expected


async def test_changes_of_one_target_and_from_a_time_on(store):
    await store.record([change(f"server/{name}", n) for name in "ab" for n in range(4)], [], [])
    assert await listed(store, "server/b", size=2) == [change("server/b", n) for n in (3, 2, 1, 0)]
    assert await listed(store, "server/b", NOON + timedelta(seconds=2)) == [change("server/b", n) for n in (3, 2)]
    assert await listed(store, "server/z") == []


@pytest.mark.parametrize("time", ["", "yesterday", "9999-12-31T23:59:59-12:00", "2026-13-01T00:00:00+00:00"])
async def test_a_token_that_was_made_up_is_refused(store, time):
    with pytest.raises(Invalid) as raised:
        await store.transitions("", None, Page(1, (time, "server/a")))
    assert raised.value.reason == "INVALID_PAGE_TOKEN"
    assert [violation.field for violation in raised.value.violations] == ["page_token"]


async def test_a_change_that_is_written_twice_is_there_once(store):
    await store.record([change("server/a", 1)], [A], [])
    await store.record([change("server/a", 1), change("server/a", 2)], [A], [])
    assert await listed(store) == [change("server/a", 2), change("server/a", 1)]


async def test_the_newest_changes_of_each_remembered_target_oldest_first(store):
    await store.record([change(f"server/{name}", n) for name in "ab" for n in range(4)], [A], [])
    assert await store.recent(2) == [change("server/a", 2), change("server/a", 3)]


async def test_tidying_deletes_what_is_old_and_what_is_too_much(store):
    await store.record([change("server/a", n) for n in range(10)], [], [])
    assert await store.tidy(NOON + timedelta(seconds=3), 100) == 3
    assert await store.tidy(NOON, 5) == 2
    assert await listed(store) == [change("server/a", n) for n in (9, 8, 7, 6, 5)]


async def test_without_postgres_every_call_says_so():
    store = PostgresStore(Database("postgresql://nobody@/nowhere?host=/nowhere", "health_monitoring", MIGRATIONS))
    for attempt in (
        store.record([], [A], []),
        store.remembered(),
        store.recent(1),
        store.transitions("", None, page(1, "", keys=2)),
        store.tidy(NOON, 1),
    ):
        with pytest.raises(Unavailable) as raised:
            await attempt
        assert raised.value.reason == "STORE_UNAVAILABLE"
