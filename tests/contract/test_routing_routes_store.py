"""What a store of routes promises, run on every store."""

import asyncio
from contextlib import aclosing
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import services.routing
from libs.errors import AlreadyExists, Conflict, Invalid, NotFound, Violation
from libs.postgres import Database
from services.routing.domain.policy import Limits, LoadBalancing, Mirror, ModelVersion, Retries, Route
from services.routing.domain.rollback import Plan
from services.routing.stores.routes import PostgresRoutes
from tests.contract.routes_in_memory import RoutesInMemory
from tests.polling import eventually_async

MIGRATIONS = Path(services.routing.__file__).parent / "migrations"
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOON + timedelta(seconds=5)
ROUTE = Route(
    model="flight-delay",
    default_version="2",
    fallbacks=(ModelVersion("flight-delay", "1"), ModelVersion("flight-delay", "3")),
    load_balancing=LoadBalancing.LEAST_REQUEST,
    timeout=2.5,
    retries=Retries(attempts=0, per_try_timeout=0.1, back_off=0.2),
    mirror=Mirror("4", 250),
    limits=Limits(7, 0, 1_000_000),
)


@pytest.fixture
async def in_memory():
    return RoutesInMemory()


@pytest.fixture
async def in_postgres(fresh_database):
    database = Database(fresh_database, "routing", MIGRATIONS)
    store = PostgresRoutes(database)
    keeping = asyncio.create_task(database.keep_open())
    await database.connected()
    yield store
    keeping.cancel()
    await asyncio.wait([keeping])
    await database.close()


@pytest.fixture(params=["in_memory", "in_postgres"])
def store(request):
    return request.getfixturevalue(request.param)


async def test_what_is_created_can_be_read(store):
    stored = await store.create(ROUTE, NOON)
    assert (stored.route, stored.create_time, stored.update_time) == (ROUTE, NOON, NOON)
    assert stored.etag
    assert await store.get("flight-delay") == stored


async def test_a_model_has_one_route(store):
    stored = await store.create(ROUTE, NOON)
    with pytest.raises(AlreadyExists) as raised:
        await store.create(replace(ROUTE, default_version="9"), LATER)
    assert raised.value.reason == "ROUTE_EXISTS"
    assert await store.get("flight-delay") == stored


async def test_what_is_not_there_is_not_found(store):
    for attempt in (
        store.get("nobody"),
        store.change("nobody", "", NOON, lambda route: route),
        store.delete("nobody", ""),
    ):
        with pytest.raises(NotFound) as raised:
            await attempt
        assert raised.value.reason == "ROUTE_NOT_FOUND"


async def test_a_change_keeps_when_it_was_created_and_gets_another_etag(store):
    first = await store.create(ROUTE, NOON)
    second = await store.change("flight-delay", first.etag, LATER, lambda route: replace(route, default_version="3"))
    assert second.route == replace(ROUTE, default_version="3")
    assert (second.create_time, second.update_time) == (NOON, LATER)
    assert second.etag != first.etag
    assert await store.get("flight-delay") == second


async def test_a_write_with_an_old_etag_changes_nothing(store):
    first = await store.create(ROUTE, NOON)
    second = await store.change("flight-delay", "", LATER, lambda route: route)
    assert second.etag != first.etag
    for attempt in (
        store.change("flight-delay", first.etag, LATER, lambda route: replace(route, default_version="9")),
        store.delete("flight-delay", first.etag),
    ):
        with pytest.raises(Conflict) as raised:
            await attempt
        assert raised.value.reason == "ETAG_MISMATCH"
    assert await store.get("flight-delay") == second


async def test_a_change_that_is_refused_changes_nothing(store):
    first = await store.create(ROUTE, NOON)

    def refuse(route):
        raise Invalid([Violation("route.timeout", "no")])

    with pytest.raises(Invalid):
        await store.change("flight-delay", "", LATER, refuse)
    assert await store.get("flight-delay") == first


async def test_an_etag_does_not_outlive_its_route(store):
    first = await store.create(ROUTE, NOON)
    await store.delete("flight-delay", first.etag)
    with pytest.raises(NotFound):
        await store.get("flight-delay")
    assert (await store.create(ROUTE, LATER)).etag != first.etag


async def test_lists_go_by_code_point_and_page(store):
    for model in ("b", "a_c", "a-c", "B", "a.c", "aB"):
        await store.create(replace(ROUTE, model=model, fallbacks=()), NOON)
    models = [stored.route.model for stored in await store.list("", 100)]
    assert models == ["B", "a-c", "a.c", "aB", "a_c", "b"]
    assert [stored.route.model for stored in await store.list("a.c", 2)] == ["aB", "a_c"]
    assert await store.list("b", 100) == []


async def test_changes_at_once_are_each_made(store):
    await store.create(replace(ROUTE, retries=Retries(attempts=0)), NOON)

    def one_more(route):
        return replace(route, retries=replace(route.retries, attempts=route.retries.attempts + 1))

    await asyncio.gather(*(store.change("flight-delay", "", LATER, one_more) for _ in range(8)))
    assert (await store.get("flight-delay")).route.retries.attempts == 8


async def test_a_watch_tells_everything_first_and_after_each_write(store):
    async with aclosing(store.watch()) as watch, asyncio.timeout(10):
        assert await anext(watch) == ()
        stored = await store.create(ROUTE, NOON)
        assert await seen(watch, (ROUTE,))
        other = replace(ROUTE, default_version="3")
        await store.change("flight-delay", stored.etag, LATER, lambda _: other)
        assert await seen(watch, (other,))
        await store.delete("flight-delay", "")
        assert await seen(watch, ())


async def test_routes_are_restored_in_one_step(store):
    route = replace(ROUTE, fallbacks=())
    kept = await store.create(replace(route, model="kept"), NOON)
    changed = await store.create(replace(route, model="changed", default_version="9"), NOON)
    await store.create(replace(route, model="newer"), NOON)
    gone, old = replace(route, model="gone"), replace(route, model="changed")
    seen_now = []

    def planned(now):
        seen_now.extend(each.model for each in now)
        return Plan((old, gone), ("newer",), (), {})

    done = await store.restore(LATER, planned)
    assert sorted(seen_now) == ["changed", "kept", "newer"]
    assert done.puts == (old, gone)
    assert await store.get("kept") == kept
    now = await store.get("changed")
    assert (now.route, now.create_time, now.update_time) == (old, NOON, LATER)
    assert now.etag != changed.etag
    created = await store.get("gone")
    assert (created.route, created.create_time) == (gone, LATER)
    with pytest.raises(NotFound):
        await store.get("newer")
    assert [each.model for each in await store.all()] == ["changed", "gone", "kept"]


async def test_a_restoration_that_is_refused_changes_nothing(store):
    first = await store.create(ROUTE, NOON)

    def refuse(now):
        raise Invalid([Violation("models[0]", "no")])

    with pytest.raises(Invalid):
        await store.restore(LATER, refuse)
    assert await store.get("flight-delay") == first


async def test_a_restoration_waits_for_a_change_that_has_begun(in_postgres):
    store, database = in_postgres, in_postgres._database
    await store.create(ROUTE, NOON)
    old, new = replace(ROUTE, default_version="1"), replace(ROUTE, default_version="4")
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM route FOR UPDATE")
        # a call of its own, not a part of this transaction
        restoring = asyncio.create_task(store.restore(LATER, lambda _: Plan((old,), (), (), {})), context=Context())
        await eventually_async(lambda: waits_for_a_lock(connection))
        await store.change(ROUTE.model, "", LATER, lambda _: new)
    await restoring
    assert (await store.get(ROUTE.model)).route == old


async def waits_for_a_lock(connection):
    return await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")


async def test_a_watch_tells_what_was_restored(store):
    async with aclosing(store.watch()) as watch, asyncio.timeout(10):
        assert await anext(watch) == ()
        await store.restore(NOON, lambda _: Plan((ROUTE,), (), (), {}))
        assert await seen(watch, (ROUTE,))


async def seen(watch, routes):
    """Notifications may be coalesced or repeated: what counts is that the newest arrives."""
    async for told in watch:
        if told == routes:
            return True
    return False
