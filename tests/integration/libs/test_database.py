"""Migrations, ambient transactions, notifications and idempotency on a real Postgres."""

import asyncio

import pytest

from libs import identity
from libs.errors import AlreadyExists, Invalid, Unavailable
from libs.idempotency import once
from libs.migrations import MigrationError
from libs.postgres import Database
from penstock.routing.v1.route_pb2 import Route
from penstock.routing.v1.routing_service_pb2 import CreateRouteRequest, CreateRouteResponse
from tests.polling import eventually_async


@pytest.fixture
def migrations(tmp_path):
    folder = tmp_path / "migrations"
    folder.mkdir()
    (folder / "0001_things.sql").write_text("CREATE TABLE thing (name text PRIMARY KEY);")
    return folder


@pytest.fixture
async def database(fresh_database, migrations):
    database = Database(fresh_database, "things", migrations)
    await database.open()
    yield database
    await database.close()


async def names(database):
    async with database.connection() as connection:
        return [row["name"] for row in await connection.fetch("SELECT name FROM thing ORDER BY name")]


async def test_a_changed_migration_is_refused(database, fresh_database, migrations):
    (migrations / "0001_things.sql").write_text("CREATE TABLE other (name text);")
    with pytest.raises(MigrationError, match="0001_things"):
        await Database(fresh_database, "things", migrations).open()


async def test_two_processes_that_start_at_once_migrate_once(fresh_database, migrations):
    both = [Database(fresh_database, "things", migrations) for _ in range(2)]
    await asyncio.gather(*(database.open() for database in both))
    for database in both:
        await database.close()


async def test_stores_share_the_ambient_transaction(database):
    async def write(name):
        async with database.connection() as connection:
            await connection.execute("INSERT INTO thing VALUES ($1)", name)

    with pytest.raises(RuntimeError):
        async with database.transaction():
            await write("a")
            await write("b")
            raise RuntimeError
    assert await names(database) == []
    async with database.transaction():
        await write("a")
        await write("b")
    assert await names(database) == ["a", "b"]


def creation(request_id, model="m"):
    return CreateRouteRequest(request_id=request_id, route=Route(model=model))


class Creator:
    def __init__(self, database):
        self.database = database

    async def create(self, request):
        async def perform():
            async with self.database.connection() as connection:
                await connection.execute("INSERT INTO thing VALUES ($1)", request.route.model)
            return CreateRouteResponse(route=Route(model=request.route.model, etag="1"))

        return await once(self.database, request, CreateRouteResponse, perform)


async def test_a_repeat_returns_the_first_answer_and_does_nothing(database):
    creator = Creator(database)
    first = await creator.create(creation("id-1"))
    assert await creator.create(creation("id-1")) == first
    assert await names(database) == ["m"]


async def test_a_repeat_with_other_content_is_refused(database):
    creator = Creator(database)
    await creator.create(creation("id-1"))
    with pytest.raises(AlreadyExists) as raised:
        await creator.create(creation("id-1", model="other"))
    assert raised.value.reason == "REQUEST_ID_REUSED"
    assert await names(database) == ["m"]


async def test_the_same_id_of_another_tenant_is_another_mutation(database):
    creator = Creator(database)
    await creator.create(creation("id-1"))
    identity.enter({identity.TENANT: "acme"})
    try:
        await creator.create(creation("id-1", model="theirs"))
    finally:
        identity.enter({})
    assert await names(database) == ["m", "theirs"]


async def test_a_fault_of_the_callers_own_is_not_blamed_on_postgres(database):
    with pytest.raises(FileNotFoundError):
        async with database.transaction():
            raise FileNotFoundError


async def test_text_that_postgres_cannot_store_is_the_callers_fault(database):
    with pytest.raises(Invalid):
        async with database.connection() as connection:
            await connection.fetch("SELECT name FROM thing WHERE name = $1", "a\0b")


async def test_a_statement_that_takes_too_long_is_unavailable(database):
    with pytest.raises(Unavailable):
        async with database.connection() as connection:
            await connection.execute("SELECT pg_sleep(60)", timeout=0.2)


async def test_many_at_once_are_performed_once(database):
    creator = Creator(database)
    answers = await asyncio.gather(*(creator.create(creation("id-1")) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert await names(database) == ["m"]


async def test_a_failed_mutation_may_be_tried_again_under_its_id(database):
    async def fail():
        raise Unavailable("SERVICE_UNAVAILABLE", "not now")

    with pytest.raises(Unavailable):
        await once(database, creation("id-1"), CreateRouteResponse, fail)
    await Creator(database).create(creation("id-1"))
    assert await names(database) == ["m"]


@pytest.mark.parametrize("request_id", ["x" * 65, "a\0b"])
async def test_a_request_id_is_short_text(database, request_id):
    with pytest.raises(Invalid):
        await Creator(database).create(creation(request_id))


async def test_a_database_that_is_not_there_is_unavailable(migrations):
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", "things", migrations)
    with pytest.raises(Unavailable) as raised:
        await names(nowhere)
    assert raised.value.reason == "STORE_UNAVAILABLE"


async def test_replicas_hear_of_each_others_writes(database, fresh_database, migrations):
    heard = []
    other = Database(fresh_database, "things", migrations)
    other.on_notification("changed", heard.append)
    keeping = asyncio.create_task(other.keep_open())
    try:
        await eventually_async(lambda: heard == [""], message="the replica listens")
        async with database.transaction():
            await database.notify("changed", "a")
        await eventually_async(lambda: heard[1:] == ["a"], message="the replica heard")
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await other.close()
