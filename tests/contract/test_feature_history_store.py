"""What a history promises, run on every one; and that compaction changes nothing of it."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import services.feature_store
from libs.clock import SystemClock
from libs.errors import Faults, Unavailable
from libs.postgres import Database
from services.feature_store.domain.columns import Column, Field, Rows, ValueType
from services.feature_store.domain.definitions import (
    Aggregation,
    BatchSource,
    Entity,
    FeatureView,
    Function,
    StreamSource,
)
from services.feature_store.domain.history import Seen
from services.feature_store.domain.plan import StoredView
from services.feature_store.domain.registration import Catalog, Registrar
from services.feature_store.stores import parquet
from services.feature_store.stores.compaction import MOST_FILES, READERS_LEAVE, Compactor
from services.feature_store.stores.history import History
from services.feature_store.stores.registry import PostgresRegistry
from tests.contract.features_in_memory import HistoryInMemory, RegistryInMemory

MIGRATIONS = Path(services.feature_store.__file__).parent / "migrations"
MIDNIGHT = 1_362_873_600_000_000
DAY = 86_400 * 1_000_000
ENTITY = Entity("plane", (Field("tail", ValueType.STRING), Field("unit", ValueType.INT64)))
FIELDS = tuple(Field(f"f_{kind.value.lower()}", kind) for kind in ValueType)
BATCH = FeatureView("facts", "plane", BatchSource(FIELDS))
STREAM = FeatureView("moves", "plane", StreamSource(FIELDS, (Aggregation("n", Function.COUNT, "", DAY),)))
NAMES = tuple(field.name for field in FIELDS)
NOW = timedelta(0)


class Later:
    """Time, moved on by hand."""

    def __init__(self):
        self.passed = timedelta(0)

    def __call__(self):
        return datetime.now(UTC) + self.passed


class Place:
    """A history with two views of each of two tenants."""

    def __init__(self, history, registry):
        self.history = history
        self.registry = registry

    async def declare(self):
        registrar, catalog = Registrar(self.registry, SystemClock()), Catalog(self.registry)
        for tenant in ("local", "../other"):
            await registrar.create_entity(tenant, ENTITY, Faults())
            await registrar.create_view(tenant, BATCH, Faults())
            await registrar.create_view(tenant, STREAM, Faults())
        self.batch: StoredView = await catalog.view("local", "facts")
        self.stream: StoredView = await catalog.view("local", "moves")
        self.others: StoredView = await catalog.view("../other", "facts")
        return self

    async def database_rows(self, table):
        async with self.database.connection() as connection:
            return await connection.fetchval(f"SELECT count(*) FROM {table}")

    async def written(self, stored=None, since_us=None, until_us=2 * MIDNIGHT, names=NAMES):
        return as_lists(await self.history.read(stored or self.batch, names, since_us, until_us))


@pytest.fixture
async def in_memory():
    return await Place(HistoryInMemory(), RegistryInMemory()).declare()


@pytest.fixture
async def in_files(fresh_database, tmp_path):
    database = Database(fresh_database, "feature_store", MIGRATIONS)
    keeping = asyncio.create_task(database.keep_open())
    await database.connected()
    place = Place(History(database, tmp_path), PostgresRegistry(database))
    place.database, place.root, place.now = database, tmp_path, Later()
    place.compactor = Compactor(database, tmp_path, place.now)
    yield await place.declare()
    keeping.cancel()
    await asyncio.wait([keeping])
    await database.close()


@pytest.fixture(params=["in_memory", "in_files"])
def place(request):
    return request.getfixturevalue(request.param)


def rows(*written):
    """From (tail, unit, event_us, created_us, values)."""
    tails, units, event_us, created_us, values = zip(*written, strict=True)
    columns = {"tail": Column.of(ValueType.STRING, tails), "unit": Column.of(ValueType.INT64, units)}
    columns |= {f.name: Column.of(f.type, [row[i] for row in values]) for i, f in enumerate(FIELDS)}
    return Rows(np.array(event_us, np.int64), np.array(created_us, np.int64), columns)


def row(event_us=MIDNIGHT, created_us=0, values=(1, 2.5, "ü", True, MIDNIGHT), tail="N1", unit=7):
    return (tail, unit, event_us, created_us, values)


def as_lists(found):
    columns = {name: column.objects() for name, column in found.columns.items()}
    times = zip(found.event_us.tolist(), found.created_us.tolist(), strict=True)
    return [(*time, *values) for time, values in zip(times, zip(*columns.values(), strict=True), strict=True)]


async def test_nothing_is_read_where_nothing_was_written(place):
    found = await place.history.read(place.batch, NAMES, None, MIDNIGHT)
    assert len(found) == 0
    assert list(found.columns) == ["tail", "unit", *NAMES]


async def test_every_value_comes_back_and_null_as_null(place):
    extremes = (-(2**63), float("inf"), "", False, -(2**53))
    written = [row(), row(values=(None,) * 5), row(values=extremes), row(values=(2**63 - 1, -0.0, "a\0b", True, 2**53))]
    await place.history.append_rows(place.batch, rows(*written))
    assert await place.written() == [(MIDNIGHT, 0, "N1", 7, *values) for _, _, _, _, values in written]


async def test_writes_come_back_in_their_order(place):
    for created_us in (5, 3, 4):
        await place.history.append_rows(place.batch, rows(row(created_us=created_us), row(MIDNIGHT - DAY, created_us)))
    assert [(event, created) for event, created, *_ in await place.written(names=())] == [
        (event_us, created_us) for created_us in (5, 3, 4) for event_us in (MIDNIGHT, MIDNIGHT - DAY)
    ]


async def test_both_ends_of_a_span_are_in_it(place):
    await place.history.append_rows(place.batch, rows(*(row(MIDNIGHT + i) for i in range(-2, 3))))
    found = await place.written(since_us=MIDNIGHT - 1, until_us=MIDNIGHT + 1)
    assert [event_us - MIDNIGHT for event_us, *_ in found] == [-1, 0, 1]


async def test_views_and_tenants_are_apart(place):
    await place.history.append_rows(place.batch, rows(row()))
    await place.history.append_events(place.stream, rows(row(), row()), ["a", "b"], [b"a", b"b"])
    assert len(await place.written(place.others)) == 0
    assert len(await place.written()) == 1
    assert len(await place.written(place.stream)) == 2


async def test_an_event_id_is_new_once(place):
    events = rows(row(MIDNIGHT), row(MIDNIGHT + 1), row(MIDNIGHT + 2), row(MIDNIGHT + 3))
    seen = await place.history.append_events(place.stream, events, ["a", "b", "a", "a"], [b"1", b"2", b"1", b"3"])
    assert seen.tolist() == [Seen.NEW, Seen.NEW, Seen.REPEATED, Seen.CONFLICTING]
    seen = await place.history.append_events(
        place.stream, events.take(np.arange(3)), ["b", "c", "a"], [b"2", b"4", b"9"]
    )
    assert seen.tolist() == [Seen.REPEATED, Seen.NEW, Seen.CONFLICTING]
    assert [event_us - MIDNIGHT for event_us, *_ in await place.written(place.stream)] == [0, 1, 1]


async def test_pushes_of_the_same_events_at_once_write_each_once(place):
    ids = [f"e{i}" for i in range(50)]
    events = rows(*(row(MIDNIGHT + i) for i in range(50)))
    shuffled = np.random.default_rng(7).permutation(50)

    def push(order):
        named = [ids[i] for i in order]
        return place.history.append_events(place.stream, events.take(order), named, [i.encode() for i in named])

    seen = await asyncio.gather(*(push(order) for order in (np.arange(50), shuffled, np.arange(50)[::-1], shuffled)))
    assert sum(int((s == Seen.NEW).sum()) for s in seen) == 50
    assert len(await place.written(place.stream)) == 50


async def test_compaction_changes_nothing(in_files):
    """Ties included: the order of writing survives files and merges."""
    for i in range(4):
        values = [(i * 10 + j, None, "s", None, MIDNIGHT) for j in range(3)]
        ties = [row(MIDNIGHT, 5, v, tail=t) for v in values for t in ("N2", "N1")]
        await in_files.history.append_rows(in_files.batch, rows(*ties, row(MIDNIGHT - DAY - 1), row(MIDNIGHT + i)))
        await in_files.history.append_events(in_files.stream, rows(row(MIDNIGHT + i)), [str(i)], [b"x"])
        before = await in_files.written(), await in_files.written(in_files.stream)
        assert await in_files.compactor.compact(NOW) > 0
        after = await in_files.written(), await in_files.written(in_files.stream)
        for b, a in zip(before, after, strict=True):
            assert sorted(b, key=str) == sorted(a, key=str)
            of = [[r[4] for r in found if r[:3] == (MIDNIGHT, 5, "N1")] for found in (b, a)]
            assert of[0] == of[1]
    assert await in_files.database_rows("history_batch") == 0


async def test_small_files_become_large_ones_and_then_go(in_files):
    for i in range(MOST_FILES + 1):
        await in_files.history.append_rows(in_files.batch, rows(row(MIDNIGHT, i)))
        await in_files.compactor.compact(NOW)
    everything = await in_files.written()
    assert [created for _, created, *_ in everything] == list(range(MOST_FILES + 1))
    assert await in_files.database_rows("history_file WHERE drop_time IS NULL") == 1
    await in_files.compactor.sweep()
    assert len(list(in_files.root.rglob("*.parquet"))) == MOST_FILES + 2
    in_files.now.passed = READERS_LEAVE + timedelta(seconds=1)
    await in_files.compactor.sweep()
    assert len(list(in_files.root.rglob("*.parquet"))) == 1
    assert await in_files.written() == everything


async def test_what_is_neither_many_nor_old_waits(in_files):
    await in_files.history.append_rows(in_files.batch, rows(row()))
    assert await in_files.compactor.compact(timedelta(hours=1)) == 0
    assert len(await in_files.written()) == 1


async def test_a_crash_in_the_middle_of_compaction_loses_and_doubles_nothing(in_files, monkeypatch):
    """Two files are to be written; the second one cannot."""
    await in_files.history.append_rows(in_files.batch, rows(row(MIDNIGHT), row(MIDNIGHT + DAY)))
    before = await in_files.written()
    write, written = parquet.write, []

    def failing(*arguments):
        if written:
            raise Unavailable("STORE_UNAVAILABLE", "no space left")
        written.append(write(*arguments))
        return written[0]

    monkeypatch.setattr(parquet, "write", failing)
    with pytest.raises(Unavailable, match="space"):
        await in_files.compactor.compact(NOW)
    assert await in_files.written() == before
    monkeypatch.setattr(parquet, "write", write)
    assert await in_files.compactor.compact(NOW) == 2
    assert await in_files.written() == before


async def test_only_one_compacts_and_nobody_reads_twice(in_files):
    async def read():
        return len(await in_files.written())

    for i in range(5):
        await in_files.history.append_rows(in_files.batch, rows(*(row(MIDNIGHT + i * DAY, j) for j in range(20))))
        compacting = [in_files.compactor.compact(NOW) for _ in range(3)]
        counts = await asyncio.gather(*compacting, *(read() for _ in range(20)))
        assert set(counts[3:]) == {(i + 1) * 20}
        assert sorted(counts[:3])[:2] == [0, 0]


async def test_a_tenant_s_name_leads_nowhere_else(in_files):
    await in_files.history.append_rows(in_files.others, rows(row()))
    await in_files.compactor.compact(NOW)
    (path,) = in_files.root.rglob("*.parquet")
    day = f"{datetime.now(UTC).date()}"
    assert str(path.parent.relative_to(in_files.root)) == (
        f"tenant=..%2Fother/view=facts/event_date=2013-03-10/ingest_date={day}"
    )


async def test_a_file_that_is_gone_is_unavailable_not_empty(in_files):
    await in_files.history.append_rows(in_files.batch, rows(row()))
    await in_files.compactor.compact(NOW)
    for path in in_files.root.rglob("*.parquet"):
        path.unlink()
    with pytest.raises(Unavailable) as raised:
        await in_files.written()
    assert raised.value.reason == "STORE_UNAVAILABLE"


async def test_a_view_s_ids_are_its_own(place):
    views = [place.batch.view, place.stream.view, place.others.view]
    assert len({view.view_id for view in views}) == 3
    assert len({view.schema_id for view in views}) == 3
    assert replace(place.batch.view, view_id=0, schema_id=0, etag="", create_time=None) == BATCH
