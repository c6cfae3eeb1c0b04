"""What stores of keys and of limits promise, run on every store."""

import asyncio
from contextlib import aclosing
from contextvars import Context
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

import services.routing
from libs.errors import AlreadyExists, Conflict, Invalid, NotFound, Precondition, Violation
from libs.postgres import Database
from services.routing.domain.keys import StoredKey, key_hash
from services.routing.domain.policy import ApiKey, RateLimit, Scope
from services.routing.stores.keys import PostgresKeys
from services.routing.stores.limits import PostgresLimits
from tests.contract.access_in_memory import KeysInMemory, LimitsInMemory

MIGRATIONS = Path(services.routing.__file__).parent / "migrations"
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
LATER = NOON + timedelta(seconds=5)
LIMIT = RateLimit("gentle", "acme", Scope.UNIT, 2.5, 10, shadow=True)


def key(name, *roles, tenant="acme"):
    made = ApiKey(name * 12, key_hash(name), tenant, "alice@acme.example", roles or ("caller",))
    return StoredKey(made, "of a test", "bob", NOON)


@pytest.fixture
async def in_memory():
    return SimpleNamespace(keys=KeysInMemory(), limits=LimitsInMemory())


@pytest.fixture
async def in_postgres(fresh_database):
    database = Database(fresh_database, "routing", MIGRATIONS)
    stores = SimpleNamespace(keys=PostgresKeys(database), limits=PostgresLimits(database))
    keeping = asyncio.create_task(database.keep_open())
    await database.connected()
    yield stores
    keeping.cancel()
    await asyncio.wait([keeping])
    await database.close()


@pytest.fixture(params=["in_memory", "in_postgres"])
def access(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def keys(access):
    return access.keys


@pytest.fixture
def limits(access):
    return access.limits


async def test_a_key_that_is_created_can_be_read(keys):
    stored = key("a", "admin", "caller")
    await keys.create(stored)
    assert await keys.get("a" * 12) == stored


async def test_a_revoked_key_can_be_read_and_is_revoked_once(keys):
    await keys.create(key("a"))
    revoked = await keys.revoke("a" * 12, "carol", LATER)
    assert revoked == replace(key("a"), revoker="carol", revoke_time=LATER)
    assert await keys.revoke("a" * 12, "dave", LATER + timedelta(days=1)) == revoked
    assert await keys.get("a" * 12) == revoked


async def test_a_key_that_is_not_there_is_not_found(keys):
    for attempt in (keys.get("b" * 12), keys.revoke("b" * 12, "carol", NOON)):
        with pytest.raises(NotFound) as raised:
            await attempt
        assert raised.value.reason == "API_KEY_NOT_FOUND"


async def test_keys_are_listed_by_id_revoked_ones_too(keys):
    for name, tenant in (("c", "acme"), ("a", "acme"), ("b", "other")):
        await keys.create(key(name, tenant=tenant))
    await keys.revoke("a" * 12, "carol", LATER)
    assert [stored.key.id[0] for stored in await keys.list("", "", 100)] == ["a", "b", "c"]
    assert [stored.key.id[0] for stored in await keys.list("acme", "", 100)] == ["a", "c"]
    assert [stored.key.id[0] for stored in await keys.list("", "a" * 12, 1)] == ["b"]
    assert await keys.list("nobody", "", 100) == []


async def test_the_last_admin_stays(keys):
    await keys.create(key("a", "admin"))
    await keys.create(key("b", "caller"))
    await keys.create(key("c", "admin"))
    await keys.revoke("a" * 12, "carol", LATER)
    with pytest.raises(Precondition) as raised:
        await keys.revoke("c" * 12, "carol", LATER)
    assert raised.value.reason == "LAST_ADMIN_KEY"
    assert (await keys.get("c" * 12)).revoke_time is None
    assert (await keys.revoke("b" * 12, "carol", LATER)).revoke_time == LATER


async def test_of_two_admins_that_are_revoked_at_once_one_stays(keys):
    await keys.create(key("a", "admin"))
    await keys.create(key("b", "admin"))
    attempts = (keys.revoke(name * 12, "carol", LATER) for name in "ab")
    done = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(each).__name__ for each in done) == ["Precondition", "StoredKey"]


async def test_there_is_one_first_key_and_only_where_there_never_was_any(keys):
    kept = []
    attempts = (keys.create_first(key(name, "admin"), lambda name=name: kept.append(name)) for name in "abc")
    assert sorted(await asyncio.gather(*attempts)) == [False, False, True]
    assert [stored.key.id[0] for stored in await keys.list("", "", 100)] == kept
    assert len(kept) == 1


async def test_a_revoked_key_was_one(keys):
    await keys.create(key("a"))
    await keys.revoke("a" * 12, "carol", LATER)
    assert not await keys.create_first(key("b", "admin"), lambda: None)


async def test_a_first_key_that_cannot_be_kept_is_not_stored(keys):
    def refuse():
        raise PermissionError("read-only")

    with pytest.raises(PermissionError):
        await keys.create_first(key("a", "admin"), refuse)
    assert await keys.list("", "", 100) == []


async def test_a_watch_tells_the_good_keys_after_each_write(keys):
    async with aclosing(keys.watch()) as watch, asyncio.timeout(10):
        assert await anext(watch) == ()
        await keys.create(key("b"))
        assert await seen(watch, (key("b").key,))
        await keys.create(key("a", "admin", "caller"))
        assert await seen(watch, (key("a", "admin", "caller").key, key("b").key))
        await keys.revoke("b" * 12, "carol", LATER)
        assert await seen(watch, (key("a", "admin", "caller").key,))


async def test_a_limit_that_is_created_can_be_read(limits):
    stored = await limits.create(LIMIT, NOON)
    assert (stored.limit, stored.create_time, stored.update_time) == (LIMIT, NOON, NOON)
    assert stored.etag
    assert await limits.get("gentle") == stored
    with pytest.raises(AlreadyExists) as raised:
        await limits.create(replace(LIMIT, burst=1), LATER)
    assert raised.value.reason == "RATE_LIMIT_EXISTS"
    assert await limits.get("gentle") == stored


async def test_a_limit_that_is_not_there_is_not_found(limits):
    for attempt in (
        limits.get("nobody"),
        limits.change("nobody", "", NOON, lambda limit: limit),
        limits.delete("nobody", ""),
    ):
        with pytest.raises(NotFound) as raised:
            await attempt
        assert raised.value.reason == "RATE_LIMIT_NOT_FOUND"


async def test_a_limit_that_was_changed_has_another_etag(limits):
    first = await limits.create(LIMIT, NOON)
    second = await limits.change("gentle", first.etag, LATER, lambda limit: replace(limit, burst=3))
    assert (second.limit, second.create_time, second.update_time) == (replace(LIMIT, burst=3), NOON, LATER)
    assert second.etag != first.etag
    for attempt in (
        limits.change("gentle", first.etag, LATER, lambda limit: replace(limit, burst=9)),
        limits.delete("gentle", first.etag),
    ):
        with pytest.raises(Conflict) as raised:
            await attempt
        assert raised.value.reason == "ETAG_MISMATCH"
    assert await limits.get("gentle") == second


async def test_a_change_of_a_limit_that_is_refused_changes_nothing(limits):
    first = await limits.create(LIMIT, NOON)

    def refuse(limit):
        raise Invalid([Violation("rate_limit.burst", "no")])

    with pytest.raises(Invalid):
        await limits.change("gentle", "", LATER, refuse)
    assert await limits.get("gentle") == first


async def test_limits_are_listed_by_code_point(limits):
    for name, tenant in (("b", ""), ("a-c", "acme"), ("B", "acme"), ("a.c", "other")):
        await limits.create(replace(LIMIT, name=name, tenant=tenant), NOON)
    assert [stored.limit.name for stored in await limits.list("", "", 100)] == ["B", "a-c", "a.c", "b"]
    assert [stored.limit.name for stored in await limits.list("acme", "", 100)] == ["B", "a-c"]
    assert [stored.limit.name for stored in await limits.list("", "a-c", 1)] == ["a.c"]


async def fill(limits, tenant, count, start=0):
    for n in range(start, start + count):
        await limits.create(replace(LIMIT, name=f"{tenant}.{n}".lstrip("."), tenant=tenant), NOON)


async def test_no_call_meets_more_limits_than_are_enforced(limits):
    await fill(limits, "", 4)
    await fill(limits, "acme", 60)
    await fill(limits, "other", 1)
    for tenant in ("acme", ""):
        with pytest.raises(Precondition) as raised:
            await fill(limits, tenant, 1, start=99)
        assert raised.value.reason == "RATE_LIMITS_FULL"
    await fill(limits, "other", 59, start=1)
    assert len(await limits.list("", "", 1000)) == 124, "what was refused is not there"
    await limits.delete("acme.7", "")
    await fill(limits, "acme", 1, start=7)


async def test_of_two_that_would_be_the_last_limit_one_is(limits):
    await fill(limits, "", 63)
    done = await asyncio.gather(*(fill(limits, t, 1) for t in ("acme", "acme-too")))
    assert done == [None, None]
    done = await asyncio.gather(*(fill(limits, "acme", 1, start=n) for n in (8, 9)), return_exceptions=True)
    assert [type(each) for each in done] == [Precondition, Precondition]
    await limits.delete("acme.0", "")
    done = await asyncio.gather(*(fill(limits, "acme", 1, start=n) for n in (8, 9)), return_exceptions=True)
    assert {type(each) for each in done} == {Precondition, type(None)}


async def test_a_watch_tells_all_limits_after_each_write(limits):
    async with aclosing(limits.watch()) as watch, asyncio.timeout(10):
        assert await anext(watch) == ()
        await limits.create(LIMIT, NOON)
        assert await seen(watch, (LIMIT,))
        await limits.change("gentle", "", LATER, lambda limit: replace(limit, scope=Scope.TENANT))
        assert await seen(watch, (replace(LIMIT, scope=Scope.TENANT),))
        await limits.delete("gentle", "")
        assert await seen(watch, ())


async def test_a_key_is_heard_of_once_its_transaction_commits(in_postgres):
    """As `once` does it: what is written in somebody's transaction is nobody's before."""
    database = in_postgres.keys._database
    async with aclosing(in_postgres.keys.watch()) as watch, asyncio.timeout(10):
        assert await anext(watch) == ()
        async with database.transaction():
            await in_postgres.keys.create(key("a"))
            reading = asyncio.create_task(in_postgres.keys.list("", "", 100), context=Context())
            assert await reading == []
        assert await seen(watch, (key("a").key,))


async def seen(watch, wanted):
    """Notifications may be coalesced or repeated: what counts is that the newest arrives."""
    async for told in watch:
        if told == wanted:
            return True
    return False
