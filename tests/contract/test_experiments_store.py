"""What a store of experiments promises, run on every store."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import services.experimentation
from libs.errors import AlreadyExists, NotFound
from libs.postgres import Database
from services.experimentation.domain.experiment import Direction, Draft, Experiment, State, Variant
from services.experimentation.stores.experiments import CHANGED, PostgresExperiments
from tests.contract.experiments_in_memory import ExperimentsInMemory
from tests.polling import eventually_async

MIGRATIONS = Path(services.experimentation.__file__).parent / "migrations"
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
DRAFT = Draft(
    name="delays",
    model="flight-delay",
    variants=(Variant("linear", "1", 5000), Variant("boosted", "2", 3000)),
    coverage=5000,
    first_bucket=2000,
    minimum_lift=0.02,
    direction=Direction.LOWER,
    description="does boosting pay?",
)
EXPERIMENT = Experiment(DRAFT, "s1", State.DRAFT, NOON)


def named(name, model="flight-delay", salt="s1"):
    return replace(EXPERIMENT, draft=replace(DRAFT, name=name, model=model), salt=salt)


@pytest.fixture
async def in_memory():
    return ExperimentsInMemory()


@pytest.fixture
async def database(fresh_database):
    database = Database(fresh_database, "experimentation", MIGRATIONS)
    keeping = asyncio.create_task(database.keep_open())
    await database.connected()
    yield database
    keeping.cancel()
    await asyncio.wait([keeping])
    await database.close()


@pytest.fixture
async def in_postgres(database):
    return PostgresExperiments(database)


@pytest.fixture(params=["in_memory", "in_postgres"])
def store(request):
    return request.getfixturevalue(request.param)


async def test_what_is_created_can_be_read(store):
    assert await store.create(EXPERIMENT) == EXPERIMENT
    assert await store.get("delays") == EXPERIMENT


async def test_a_name_is_taken_once(store):
    await store.create(EXPERIMENT)
    with pytest.raises(AlreadyExists) as refused:
        await store.create(named("delays", model="other"))
    assert refused.value.reason == "EXPERIMENT_EXISTS"
    assert await store.get("delays") == EXPERIMENT


@pytest.mark.parametrize("name", ["delays", "", "\0", "no such name ", "x" * 10_000])
async def test_what_is_not_there_is_not_found(store, name):
    for read in (store.get, store.hold):
        with pytest.raises(NotFound) as missing:
            await read(name)
        assert missing.value.reason == "EXPERIMENT_NOT_FOUND"


async def test_a_model_keeps_its_first_salt(store):
    await store.create(named("one", salt="first"))
    assert (await store.create(named("two", salt="second"))).salt == "first"
    assert (await store.create(named("three", model="other", salt="third"))).salt == "third"
    assert (await store.get("two")).salt == "first"


async def test_what_is_saved_replaces_what_was_held(store):
    await store.create(EXPERIMENT)
    async with store.transaction():
        saved = await store.save((await store.hold("delays")).started(NOON))
    assert saved == replace(EXPERIMENT.started(NOON), revision=2)
    async with store.transaction():
        saved = await store.save((await store.hold("delays")).graduated("boosted", NOON))
    assert await store.get("delays") == saved
    assert (saved.state, saved.winner, saved.revision) == (State.GRADUATED, "boosted", 3)


async def test_a_transaction_that_fails_leaves_nothing(store):
    await store.create(EXPERIMENT)
    with pytest.raises(LookupError):
        async with store.transaction():
            await store.save((await store.hold("delays")).started(NOON))
            await store.create(named("other"))
            raise LookupError
    assert await store.get("delays") == EXPERIMENT
    assert await store.page("", "", 10) == [EXPERIMENT]


async def test_pages_go_by_name(store):
    for name, model in (("c", "m1"), ("a", "m2"), ("b", "m1"), ("d", "m1")):
        await store.create(named(name, model))

    async def names(*page):
        return [experiment.name for experiment in await store.page(*page)]

    assert await names("", "", 10) == ["a", "b", "c", "d"]
    assert await names("", "b", 1) == ["c"]
    assert await names("m1", "", 2) == ["b", "c"]
    assert await names("m1", "c", 10) == ["d"]
    assert await names("m3", "", 10) == []


async def test_running_are_those_that_run(store):
    for name, model in (("a", "m1"), ("b", "m1"), ("c", "m2"), ("d", "m1")):
        await store.create(named(name, model))
    for name in ("a", "c", "d"):
        await store.save((await store.hold(name)).started(NOON))
    await store.save((await store.hold("d")).stopped(NOON))
    assert [experiment.name for experiment in await store.running()] == ["a", "c"]
    assert [experiment.name for experiment in await store.running("m1")] == ["a"]


async def test_variants_of_those_that_exist(store):
    await store.create(named("a"))
    found = await store.variants(["a", "b", "", "\0", "x" * 5000])
    assert found == {"a": frozenset({"linear", "boosted"})}
    assert await store.variants([]) == {}


async def test_in_postgres_one_at_a_time_holds_a_model(in_postgres):
    await in_postgres.create(named("a"))
    await in_postgres.create(named("b"))
    await in_postgres.create(named("c", model="other"))
    order = []
    first_holds = asyncio.Event()

    async def second():
        await first_holds.wait()
        async with in_postgres.transaction():
            held = await in_postgres.hold("b")
            order.append(("b", [e.name for e in await in_postgres.running(held.model)]))

    # made out here: a task would take the transaction along
    waiting = asyncio.create_task(second())
    async with in_postgres.transaction():
        await in_postgres.save((await in_postgres.hold("a")).started(NOON))
        first_holds.set()
        async with in_postgres.transaction():
            await in_postgres.hold("c")
        order.append("a")
    await waiting
    assert order == ["a", ("b", ["a"])]


async def test_in_postgres_a_held_experiment_is_read_as_the_last_holder_left_it(in_postgres):
    await in_postgres.create(named("a"))

    async def start():
        async with in_postgres.transaction():
            held = await in_postgres.hold("a")
            if held.state is State.DRAFT:
                await in_postgres.save(held.started(NOON))
            return held.state

    assert sorted(await asyncio.gather(*(start() for _ in range(4)))) == [State.DRAFT, *[State.RUNNING] * 3]


async def test_in_postgres_others_hear_of_a_change_when_it_is_committed(in_postgres, fresh_database):
    await in_postgres.create(EXPERIMENT)
    other = Database(fresh_database, "experimentation", MIGRATIONS)
    heard = []
    other.on_notification(CHANGED, heard.append)
    keeping = asyncio.create_task(other.keep_open())
    await eventually_async(lambda: heard == [""])
    async with in_postgres.transaction():
        await in_postgres.save((await in_postgres.hold("delays")).started(NOON))
        assert heard == [""]
    await eventually_async(lambda: heard == ["", ""])
    keeping.cancel()
    await asyncio.wait([keeping])
    await other.close()
