"""What a registry of features promises, run on every one."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import services.feature_store
from libs.errors import AlreadyExists
from libs.postgres import Database
from services.feature_store.stores.registry import PostgresRegistry
from tests.contract.features_in_memory import RegistryInMemory
from tests.unit.feature_store import declared_features as d

MIGRATIONS = Path(services.feature_store.__file__).parent / "migrations"
STAMP = {"etag": "e7a6", "create_time": datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)}
AIRPORT, CARRIER, SERVICE = (replace(definition, **STAMP) for definition in (d.AIRPORT, d.CARRIER, d.SERVICE))
VIEWS = [replace(view, view_id=0, schema_id=0, description="a view", **STAMP) for view in d.VIEWS.values()]


@pytest.fixture
async def in_memory():
    return RegistryInMemory()


@pytest.fixture
async def in_postgres(fresh_database):
    database = Database(fresh_database, "feature_store", MIGRATIONS)
    keeping = asyncio.create_task(database.keep_open())
    await database.connected()
    yield PostgresRegistry(database)
    keeping.cancel()
    await asyncio.wait([keeping])
    await database.close()


@pytest.fixture(params=["in_memory", "in_postgres"])
def empty(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
async def store(empty):
    for entity in (AIRPORT, CARRIER):
        await empty.add_entity("local", entity)
    return empty


async def test_definitions_come_back_as_they_were(store):
    views = {view.name: await store.add_view("local", view) for view in VIEWS}
    await store.add_service("local", SERVICE)
    assert await store.entities("local", ["airport", "carrier_at_airport", "none"]) == {
        "airport": AIRPORT,
        "carrier_at_airport": CARRIER,
    }
    assert await store.views("local", [*views, "none"]) == views
    assert [replace(view, view_id=0, schema_id=0) for view in views.values()] == VIEWS
    assert await store.service("local", "flight") == SERVICE
    assert await store.service("local", "none") is None


async def test_each_view_has_an_id_and_what_is_stored_a_schema(store):
    views = [await store.add_view("local", view) for view in VIEWS]
    assert len({view.view_id for view in views}) == len(views)
    assert all(view.view_id > 0 for view in views)
    assert [bool(view.schema_id) for view in views] == [bool(view.entity) for view in views]


async def test_a_name_is_given_once_in_each_tenant(store):
    await store.add_view("local", VIEWS[0])
    await store.add_service("local", SERVICE)
    for attempt, reason in (
        (store.add_entity("local", AIRPORT), "ENTITY_EXISTS"),
        (store.add_view("local", VIEWS[0]), "FEATURE_VIEW_EXISTS"),
        (store.add_service("local", SERVICE), "FEATURE_SERVICE_EXISTS"),
    ):
        with pytest.raises(AlreadyExists) as raised:
            await attempt
        assert raised.value.reason == reason
    await store.add_entity("other", AIRPORT)
    other = await store.add_view("other", VIEWS[0])
    await store.add_service("other", SERVICE)
    assert other.view_id != (await store.views("local", [other.name]))[other.name].view_id
    assert await store.entities("third", ["airport"]) == {}
    assert await store.service("third", "flight") is None


async def test_lists_go_by_name_in_pages(store):
    for name in ("b", "a_", "a", "B", "c"):
        await store.add_service("local", replace(SERVICE, name=name))
    assert [s.name for s in await store.list_services("local", "", 2)] == ["B", "a"]
    assert [s.name for s in await store.list_services("local", "a", 9)] == ["a_", "b", "c"]
    assert await store.list_services("other", "", 9) == []
    assert [e.name for e in await store.list_entities("local", "", 9)] == ["airport", "carrier_at_airport"]
    added = [await store.add_view("local", view) for view in VIEWS]
    assert await store.list_views("local", "", 9) == sorted(added, key=lambda view: view.name)
