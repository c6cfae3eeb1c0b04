"""Delivery to one sink: at least once, in order, from where it is, whatever it answers and whatever the file does."""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.envoy.logship import record_log as record_log_module
from deploy.envoy.logship.config import read as read_config
from deploy.envoy.logship.housekeeping import Housekeeper
from deploy.envoy.logship.places import Places
from deploy.envoy.logship.record_log import RecordLog
from deploy.envoy.logship.shipping import Shipment
from deploy.envoy.logship.sinks import Parcel, Undelivered, UnreadableLines
from libs.config import ConfigError
from tests.unit.logship.test_logship_lines import line


@dataclass
class Books:
    """A sink as the services are: it takes what follows and says how far it is. Keeps every request it was told of."""

    name: str = "books"
    committed: dict[str, int] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    down: bool = False
    dies_after_commit: bool = False

    async def deliver(self, parcel: Parcel) -> int:
        if self.down:
            raise Undelivered("down")
        if self.committed.setdefault(parcel.file, 0) == parcel.chunk.start:
            self.committed[parcel.file] = parcel.chunk.end
            self.told += [record.request_id for record in parcel.chunk.records]
        if self.dies_after_commit:
            raise Undelivered("nobody knows")
        return self.committed[parcel.file]


def lines(*numbers) -> bytes:
    return b"".join(b"\n" + line(request_id=b"r%d" % number) + b"\n" for number in numbers)


def ids(*numbers):
    return [f"r{number}" for number in numbers]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records.log"


@pytest.fixture
def log(path):
    return RecordLog(path, now=lambda: 4e9)


@pytest.fixture
def books():
    return Books()


def shipment(log, sink, tmp_path):
    return Shipment("envoy", log, sink, Places(tmp_path / f"{sink.name}.json"))


async def ship_all(one: Shipment):
    while await one.step():
        pass


async def test_lines_are_delivered_as_they_come(log, path, books, tmp_path):
    one = shipment(log, books, tmp_path)
    assert not await one.step()
    path.write_bytes(lines(1, 2) + line()[:50])
    await ship_all(one)
    assert books.told == ids(1, 2)
    path.write_bytes(lines(1, 2, 3))
    await ship_all(one)
    assert books.told == ids(1, 2, 3)


async def test_what_was_set_aside_goes_first(log, path, books, tmp_path):
    path.with_name("records.log.1").write_bytes(lines(1, 2))
    path.with_name("records.log.2").write_bytes(lines(3))
    path.write_bytes(lines(4))
    await ship_all(shipment(log, books, tmp_path))
    assert books.told == ids(1, 2, 3, 4)


async def test_a_sink_that_is_down_misses_nothing(log, path, books, tmp_path):
    one = shipment(log, books, tmp_path)
    path.write_bytes(lines(1))
    books.down = True
    for _ in range(3):
        with pytest.raises(Undelivered):
            await one.step()
    path.rename(tmp_path / "records.log.1")
    path.write_bytes(lines(2))
    books.down = False
    await ship_all(one)
    assert books.told == ids(1, 2)


async def test_a_sink_that_commits_and_dies_is_asked_again_and_not_told_twice(log, path, books, tmp_path):
    one = shipment(log, books, tmp_path)
    path.write_bytes(lines(1, 2))
    books.dies_after_commit = True
    with pytest.raises(Undelivered):
        await one.step()
    books.dies_after_commit = False
    path.write_bytes(lines(1, 2, 3))
    await ship_all(one)
    assert books.told == ids(1, 2, 3)


async def test_a_companion_that_lost_its_places_goes_where_the_sink_is(log, path, books, tmp_path):
    path.write_bytes(lines(1, 2))
    await ship_all(shipment(log, books, tmp_path))
    (tmp_path / "books.json").unlink()
    path.write_bytes(lines(1, 2, 3))
    log.forget_chunks()
    await ship_all(shipment(log, books, tmp_path))
    assert books.told == ids(1, 2, 3)


async def test_a_sink_that_lost_its_books_gets_all_that_is_there(log, path, books, tmp_path):
    one = shipment(log, books, tmp_path)
    path.write_bytes(lines(1, 2))
    await ship_all(one)
    books.committed.clear()
    path.write_bytes(lines(1, 2, 3))
    await ship_all(one)
    assert books.told == ids(1, 2) + ids(1, 2, 3)


async def test_a_sink_that_takes_nothing_is_left_alone_for_a_while(log, path, tmp_path):
    class Stubborn(Books):
        async def deliver(self, parcel):
            return 0

    path.write_bytes(lines(1))
    with pytest.raises(Undelivered):
        await shipment(log, Stubborn(), tmp_path).step()


async def test_a_file_that_lost_its_end_and_grew_again_is_delivered_anew(log, path, books, tmp_path):
    path.write_bytes(lines(1, 2, 3))
    await ship_all(shipment(log, books, tmp_path))
    inode = path.stat().st_ino
    path.write_bytes(lines(1, 4, 5, 6))
    assert path.stat().st_ino == inode
    # after a restart: power is what takes the end of a file away
    await ship_all(shipment(RecordLog(path), books, tmp_path))
    assert books.told == ids(1, 2, 3) + ids(1, 4, 5, 6)
    assert len(books.committed) == 2


async def test_a_file_that_shrinks_under_us_is_delivered_anew(log, path, books, tmp_path):
    one = shipment(log, books, tmp_path)
    path.write_bytes(lines(1, 2, 3))
    await ship_all(one)
    path.write_bytes(lines(1, 4))
    await ship_all(one)
    assert books.told == ids(1, 2, 3) + ids(1, 4)


async def test_sinks_do_not_wait_for_each_other(log, path, tmp_path):
    up, down = Books("up"), Books("down", down=True)
    one, other = shipment(log, up, tmp_path), shipment(log, down, tmp_path)
    path.write_bytes(lines(1, 2))
    await ship_all(one)
    with pytest.raises(Undelivered):
        await other.step()
    assert up.told == ids(1, 2)


async def test_a_file_is_deleted_when_every_sink_has_all_of_it(log, path, tmp_path):
    up, down = Books("up"), Books("down", down=True)
    shipments = [shipment(log, up, tmp_path), shipment(log, down, tmp_path)]
    keeper = Housekeeper(log, "127.0.0.1:1", 10, shipments)
    aside = tmp_path / "records.log.1"
    path.write_bytes(lines(1))
    keeper.set_aside()
    assert aside.exists()
    path.write_bytes(line(request_id=b"r2")[:5])
    await ship_all(shipments[0])
    keeper.delete()
    assert aside.exists()
    down.down = False
    await ship_all(shipments[1])
    keeper.delete()
    assert not aside.exists()
    assert path.exists()


async def test_numbers_go_on_while_files_are_kept(log, path, tmp_path, books):
    keeper = Housekeeper(log, "127.0.0.1:1", 10, [shipment(log, books, tmp_path)])
    for _ in range(3):
        path.write_bytes(lines(1))
        keeper.set_aside()
    path.write_bytes(b"small")
    keeper.set_aside()
    assert [one.name for one in log.set_aside()] == ["records.log.1", "records.log.2", "records.log.3"]
    assert path.exists()


async def test_a_dead_envoy_is_told_later(log, path, tmp_path, books):
    keeper = Housekeeper(log, "127.0.0.1:1", 10, [shipment(log, books, tmp_path)])
    path.write_bytes(lines(1))
    keeper.set_aside()
    await keeper.reopen()
    assert not path.exists()


async def test_what_is_no_record_is_kept_with_its_place(log, path, tmp_path):
    kept = tmp_path / "unreadable.jsonl"
    path.write_bytes(lines(1) + b"garbage \xff\n" + lines(2) + b"1\tcut\n")
    sink = UnreadableLines(kept)
    await ship_all(shipment(log, sink, tmp_path))
    found = [json.loads(text) for text in kept.read_text().splitlines()]
    assert [(one["offset"], one["bytes"], one["line"]) for one in found] == [
        (len(lines(1)), 9, "garbage \\xff"),
        (len(lines(1, 2)) + 10, 5, "1\tcut"),
    ]
    await ship_all(shipment(log, sink, tmp_path))
    assert len(kept.read_text().splitlines()) == 2


steps = st.one_of(
    st.tuples(st.just("write"), st.integers(1, 5)),
    st.tuples(st.just("cut"), st.integers(1, 60)),
    st.sampled_from(["rotate", "restart", "ship", "down", "up", "dies", "lose places", "delete"]),
)


@settings(max_examples=60, deadline=None)
@given(script=st.lists(steps, max_size=30))
def test_whatever_happens_each_line_is_told_exactly_once(tmp_path_factory, script):
    asyncio.run(play(tmp_path_factory.mktemp("log"), script))


async def play(folder, script):
    """Envoy writes in pieces, files are set aside and deleted, both sides crash: the books are right at the end."""
    path, books = folder / "records.log", Books()
    log = RecordLog(path, now=lambda: 4e9)
    one = shipment(log, books, folder)
    keeper = Housekeeper(log, "127.0.0.1:1", 1, [one])
    written, rest = 0, b""

    def append(data):
        with path.open("ab") as file:
            file.write(data)

    append(b"")
    for step in script:
        match step:
            case ("write", count):
                append(rest)
                rest = b""
                append(lines(*range(written, written + count)))
                written += count
            case ("cut", at) if not rest:
                text = lines(written)
                written += 1
                append(text[:at])
                rest = text[at:]
            case "rotate" if not rest:
                keeper.set_aside()
                append(b"")
            case "restart":
                log = RecordLog(path, now=lambda: 4e9)
                one = shipment(log, books, folder)
                keeper = Housekeeper(log, "127.0.0.1:1", 1, [one])
            case "ship" | "down" | "up" | "dies":
                books.down = step == "down"
                books.dies_after_commit = step == "dies"
                with contextlib.suppress(Undelivered):
                    await ship_all(one)
            case "lose places":
                (folder / "books.json").unlink(missing_ok=True)
            case "delete":
                keeper.delete()
    append(rest)
    books.down = books.dies_after_commit = False
    one = shipment(RecordLog(path, now=lambda: 4e9), books, folder)
    await ship_all(one)
    assert books.told == ids(*range(written))


def test_a_backlog_is_read_in_chunks(log, path, monkeypatch):
    monkeypatch.setattr(record_log_module, "CHUNK_BYTES", 1000)
    path.write_bytes(lines(*range(100)))
    (file,) = log.files()
    offset, told = 0, []
    while chunk := log.read(file, offset):
        assert chunk.end - chunk.start <= 1000
        told += [record.request_id for record in chunk.records]
        offset = chunk.end
    assert told == ids(*range(100))


def test_every_fault_of_the_environment_is_told():
    with pytest.raises(ConfigError) as refused:
        read_config({"PENSTOCK_ENVOY_ADMIN": "nowhere", "PENSTOCK_ROTATE_BYTES": "0"})
    for name in ("ACCESS_LOG", "STATE_DIR", "MESH_ADDRESS", "ENVOY_ADMIN", "ROTATE_BYTES"):
        assert f"PENSTOCK_{name}" in str(refused.value)
