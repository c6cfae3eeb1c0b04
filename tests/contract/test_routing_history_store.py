"""What a store of snapshots promises, run on every store."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import services.routing
from libs.errors import NotFound
from libs.postgres import Database
from services.routing.domain.history import KEPT, Count, Entry, Head, Write
from services.routing.domain.parts import content_hash, delta
from services.routing.stores.history import BATCH, PostgresHistory
from tests.contract.history_in_memory import HistoryInMemory

MIGRATIONS = Path(services.routing.__file__).parent / "migrations"
NOON = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)
COUNTS = (Count("Cluster", 3, added=1, changed=2), Count("RouteConfiguration", 1, removed=4))


@pytest.fixture
async def in_memory():
    return HistoryInMemory()


@pytest.fixture
async def in_postgres(fresh_database):
    database = Database(fresh_database, "routing", MIGRATIONS)
    keeping = asyncio.create_task(database.keep_open())
    await database.connected()
    yield PostgresHistory(database)
    keeping.cancel()
    await asyncio.wait([keeping])
    await database.close()


@pytest.fixture(params=["in_memory", "in_postgres"])
def store(request):
    return request.getfixturevalue(request.param)


def entry(revision="a" * 16, **more):
    return Entry(0, revision, NOON, **more)


async def record(store, content, revision="a" * 16, writes=(), **more):
    """What the recorder does: `content` holds the text of every part."""
    head = await store.head()
    manifest = {key: content_hash(text.encode()) for key, text in content.items()}
    bodies = {content_hash(text.encode()): text.encode() for text in content.values()}
    return await store.append(head.number, entry(revision, **more), delta(head.manifest, manifest), bodies, writes)


async def read(store, number):
    """Everything that is in a snapshot, by way of its manifest."""
    manifest = await store.manifest(number)
    bodies = await store.bodies(manifest.values())
    return {key: bodies[content].decode() for key, content in manifest.items()}


async def test_nothing_is_there_at_first(store):
    assert await store.head() == Head(0, {})
    assert await store.list(0, 10) == []
    assert await store.manifest(1) == {}
    with pytest.raises(NotFound) as raised:
        await store.find("1")
    assert raised.value.reason == "SNAPSHOT_NOT_FOUND"


async def test_what_is_recorded_is_told(store):
    said = {"authors": ("ana", "model_serving"), "reasons": ("one", "two"), "counts": COUNTS, "unrecorded": 7}
    recorded = await record(store, {("route", "m"): "x"}, **said)
    assert recorded == Entry(1, "a" * 16, NOON, **said)
    assert await store.list(0, 10) == [recorded]
    assert await store.find("1") == await store.find("a" * 16) == recorded


async def test_each_snapshot_keeps_what_was_in_it(store):
    snapshots = [
        {("route", "m"): "1", ("route", "n"): "1", ("Cluster", "m"): "c"},
        {("route", "m"): "2", ("route", "n"): "1", ("Cluster", "m"): "c"},
        {("route", "n"): "1"},
        {("route", "m"): "1", ("route", "n"): "1", ("Cluster", "m"): "c"},
        {},
    ]
    for content in snapshots:
        await record(store, content)
    for number, content in enumerate(snapshots, 1):
        assert await read(store, number) == content
        routes = {key: text.encode() for key, text in content.items() if key[0] == "route"}
        assert await store.contents(number, ["route", "server"]) == routes
    assert await store.head() == Head(len(snapshots), {})


async def test_the_newest_of_a_revision_is_found(store):
    for revision in ("a" * 16, "b" * 16, "a" * 16):
        await record(store, {("route", "m"): revision}, revision)
    assert (await store.find("a" * 16)).number == 3
    assert (await store.find("b" * 16)).number == 2


async def test_lists_are_newest_first_and_page(store):
    for number in range(5):
        await record(store, {("route", "m"): str(number)})
    assert [each.number for each in await store.list(0, 2)] == [5, 4]
    assert [each.number for each in await store.list(4, 100)] == [3, 2, 1]
    assert await store.list(1, 100) == []


async def test_only_what_follows_the_newest_is_recorded(store):
    await record(store, {("route", "m"): "1"})
    late = delta({}, {("route", "m"): "0" * 16})
    assert await store.append(0, entry(), late, {"0" * 16: b"late"}) is None
    assert await read(store, 1) == {("route", "m"): "1"}
    assert await store.bodies(["0" * 16]) == {}


async def test_of_two_at_once_one_is_recorded(store):
    change = delta({}, {("route", "m"): "0" * 16})
    answers = await asyncio.gather(*(store.append(0, entry(), change, {"0" * 16: b"x"}) for _ in range(4)))
    assert sorted(each.number for each in answers if each) == [1]
    assert (await store.head()).number == 1


async def test_the_last_hundred_are_kept_and_nothing_that_they_need_is_forgotten(store):
    steady, returning = ("Cluster", "steady"), ("Cluster", "returning")
    contents = {}
    for number in range(1, KEPT + 12):
        contents[number] = {steady: "always", ("route", "m"): f"version {number}"}
        if number % 10 == 0:
            contents[number][returning] = "back"
        await record(store, contents[number])
    newest = KEPT + 11
    assert [each.number for each in await store.list(0, 1000)] == [*range(newest, newest - KEPT, -1)]
    for number in range(newest - KEPT + 1, newest + 1):
        assert await read(store, number) == contents[number]
    gone = content_hash(b"version 11")
    assert await store.bodies([gone]) == {}
    with pytest.raises(NotFound):
        await store.find("11")


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_comes_and_goes_each_snapshot_keeps_its_own(store, seed):
    chance = random.Random(seed)
    keys = [(kind, name) for kind in ("route", "Cluster") for name in "abcdef"]
    content, kept = {}, {}
    for number in range(1, KEPT + 40):
        for key in chance.sample(keys, 3):
            content.pop(key, None)
            if chance.random() < 0.7:
                # of few texts, so that parts share them and they come back after they were gone
                content[key] = f"text {chance.randrange(8) if chance.random() < 0.8 else number}"
        kept[number] = dict(content)
        await record(store, content)
    for entry in await store.list(0, KEPT):
        assert await read(store, entry.number) == kept[entry.number]
    named = {text for number in range(40, KEPT + 40) for text in kept[number].values()}
    forgotten = {text for snapshot in kept.values() for text in snapshot.values()} - named
    assert forgotten
    assert await store.bodies(content_hash(text.encode()) for text in forgotten) == {}


async def test_more_than_one_statement_holds(store):
    content = {("route", f"m{number}"): f"text {number}" for number in range(2 * BATCH + 1)}
    await record(store, content)
    assert await read(store, 1) == content
    await record(store, {})
    assert await read(store, 2) == {}


async def test_a_snapshot_is_told_with_the_writes_that_led_to_it(store):
    def write(model, content, who, seconds):
        return Write(model, content, who, NOON + timedelta(seconds=seconds), why=f"by {who}")

    await store.note([write("m", "1", "ana", 0), write("n", "9", "eve", 0)])
    await store.note([write("m", "2", "bob", 1)])
    await store.note([write("m", "3", "late", 2)])
    told = await store.writes({"m": "2"})
    assert [(each.principal, each.content, each.why) for each in told] == [
        ("ana", "1", "by ana"),
        ("bob", "2", "by bob"),
    ]
    assert told[1].time == NOON + timedelta(seconds=1)
    await record(store, {("route", "m"): "x"}, writes=told)
    assert await store.writes({"m": "2"}) == []
    assert [each.principal for each in await store.writes({"m": "3", "n": "9"})] == ["eve", "late"]
    assert await store.writes({"m": "nobody wrote this", "n": ""}) == []
