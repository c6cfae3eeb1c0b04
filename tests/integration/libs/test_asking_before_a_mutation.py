"""Who must ask others first asks without a connection; a repeat is answered as the first was. On a real Postgres."""

import asyncio

import pytest

from libs.errors import AlreadyExists, Unavailable
from libs.idempotency import once_after
from libs.postgres import Database
from penstock.routing.v1.route_pb2 import Route
from penstock.routing.v1.routing_service_pb2 import CreateRouteRequest, CreateRouteResponse

CONNECTIONS = 2


@pytest.fixture
async def database(fresh_database, tmp_path):
    (tmp_path / "0001_things.sql").write_text("CREATE TABLE thing (name text PRIMARY KEY);")
    database = Database(fresh_database, "things", tmp_path, most_connections=CONNECTIONS)
    await database.open()
    yield database
    await database.close()


async def names(database):
    async with database.connection() as connection:
        return [row["name"] for row in await connection.fetch("SELECT name FROM thing ORDER BY name")]


async def create(database, ask, model="m", request_id="id-1"):
    """The answer's etag is what was heard."""

    async def perform(heard):
        async with database.connection() as connection:
            await connection.execute("INSERT INTO thing VALUES ($1)", model)
        return CreateRouteResponse(route=Route(model=model, etag=heard))

    request = CreateRouteRequest(request_id=request_id, route=Route(model=model))
    return (await once_after(database, request, ask, CreateRouteResponse, perform)).route


async def well():
    return "well"


async def silence():
    raise Unavailable("SERVICE_UNAVAILABLE", "nobody answers")


@pytest.mark.parametrize("named", [True, False], ids=["with a request id", "without"])
async def test_more_may_ask_at_once_than_there_are_connections(database, named):
    together = asyncio.Barrier(5 * CONNECTIONS)

    async def ask():
        async with together, asyncio.timeout(30), database.connection() as connection:
            return await connection.fetchval("SELECT 'well'")

    made = [create(database, ask, f"m{n}", f"id-{n}" if named else "") for n in range(together.parties)]
    async with asyncio.timeout(30):
        assert {route.etag for route in await asyncio.gather(*made)} == {"well"}
    assert len(await names(database)) == together.parties


async def test_a_repeat_is_answered_without_asking(database):
    first = await create(database, well)
    assert await create(database, silence) == first
    with pytest.raises(AlreadyExists, match="used before"):
        await create(database, silence, model="other")
    assert await names(database) == ["m"]


async def test_a_repeat_on_its_way_at_once_is_answered_as_the_first_whatever_it_is_told(database):
    first = []

    async def after_the_first():
        first.append(await create(database, well))
        await silence()

    assert await create(database, after_the_first) == first[0]
    assert await names(database) == ["m"]


@pytest.mark.parametrize("request_id", ["id-1", ""])
async def test_what_asking_raises_is_raised_and_not_remembered(database, request_id):
    with pytest.raises(Unavailable, match="nobody answers"):
        await create(database, silence, request_id=request_id)
    assert await names(database) == []
    assert (await create(database, well, request_id=request_id)).etag == "well"
