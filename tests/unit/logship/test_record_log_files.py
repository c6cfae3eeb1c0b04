"""Files of the record log: who is who through renaming, and where lines begin."""

import os

import pytest

from deploy.envoy.logship import record_log
from deploy.envoy.logship.record_log import Gone, RecordLog
from tests.unit.logship.test_logship_lines import line

FIRST, SECOND = b"\n" + line(request_id=b"first") + b"\n", b"\n" + line(request_id=b"second") + b"\n"


class Time:
    """Hours after every file was written, or before."""

    def __init__(self) -> None:
        self.later = True

    def __call__(self) -> float:
        return 4e9 if self.later else 0.0


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records [a].log"


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def log(path, time):
    return RecordLog(path, now=time)


def test_there_may_be_nothing_yet(log, path, tmp_path):
    assert log.files() == []
    assert RecordLog(tmp_path / "no such folder" / "records.log").files() == []
    path.write_bytes(b"")
    assert log.files() == []
    path.write_bytes(FIRST[:-1])
    assert log.files() == []


def test_a_file_is_the_same_through_growth_and_renaming_and_restarts(log, path):
    path.write_bytes(FIRST)
    (before,) = log.files()
    with path.open("ab") as file:
        file.write(SECOND)
    path.rename(f"{path}.1")
    path.write_bytes(SECOND)
    after, live = log.files()
    assert (after.identity, after.size) == (before.identity, len(FIRST + SECOND))
    assert live.identity != after.identity
    assert [file.identity for file in RecordLog(path).files()] == [after.identity, live.identity]


def test_an_inode_that_is_used_again_is_another_file(log, path):
    path.write_bytes(FIRST)
    (before,) = log.files()
    # what deleting and creating can do to an inode, done to be sure
    path.write_bytes(SECOND)
    (after,) = log.files()
    assert after.inode == before.inode
    assert after.identity != before.identity


def test_files_come_oldest_first_and_strangers_do_not(log, path):
    for name in (".2", ".10", ".9", ".bak", ".1.gz", ".²", ""):
        path.with_name(path.name + name).write_bytes(FIRST)
    path.with_name("other.log.1").write_bytes(FIRST)
    assert [file.path.name.removeprefix(path.name) for file in log.files()] == [".2", ".9", ".10", ""]


def test_a_file_is_finished_once_another_is_written_and_it_has_been_still(log, path, time):
    path.write_bytes(FIRST)
    assert [file.finished for file in log.files()] == [False]
    path.rename(f"{path}.1")
    assert [file.finished for file in log.files()] == [False]
    path.write_bytes(b"")
    time.later = False
    assert [file.finished for file in log.files()] == [False]
    time.later = True
    assert [file.finished for file in log.files()] == [True]


def test_lines_are_read_from_where_one_is(log, path):
    path.write_bytes(FIRST + SECOND + b"1\tcut")
    (file,) = log.files()
    everything = log.read(file, 0)
    assert [record.request_id for record in everything.records] == ["first", "second"]
    assert everything.end == len(FIRST + SECOND)
    assert [record.request_id for record in log.read(file, len(FIRST)).records] == ["second"]
    assert log.read(file, everything.end) is None


def test_the_rest_of_a_finished_file_is_a_line(log, path):
    path.with_name(path.name + ".1").write_bytes(FIRST + b"1\tcut")
    path.write_bytes(b"")
    file = log.files()[0]
    chunk = log.read(file, len(FIRST))
    assert [found.line for found in chunk.unreadable] == [b"1\tcut"]
    assert chunk.end == file.size


def test_a_line_without_end_does_not_stop_what_follows(log, path, monkeypatch):
    monkeypatch.setattr(record_log, "CHUNK_BYTES", 100)
    path.write_bytes(b"x" * 5000 + b"\n" + line(client_request_id=b"")[:90] + b"\n")
    (file,) = log.files()
    offset, pieces = 0, []
    while chunk := log.read(file, offset):
        assert log.mark(file, chunk.end) is not None
        pieces += chunk.unreadable
        offset = chunk.end
    assert offset == file.size
    assert b"".join(piece.line for piece in pieces[:-1]) == b"x" * 5000


def test_a_chunk_is_parsed_once_for_all_sinks(log, path):
    path.write_bytes(FIRST)
    (file,) = log.files()
    chunk = log.read(file, 0)
    assert log.read(file, 0) is chunk
    log.forget_chunks()
    assert log.read(file, 0) is not chunk


def test_a_mark_tells_whether_it_is_the_same_place(log, path):
    path.write_bytes(FIRST + SECOND)
    (file,) = log.files()
    assert log.mark(file, 0) == 0
    assert log.mark(file, len(FIRST)) is not None
    assert log.mark(file, len(FIRST)) != log.mark(file, file.size)
    assert log.mark(file, len(FIRST) + 10) is None
    assert log.mark(file, file.size + 1) is None


def test_a_name_that_another_file_bears_now_is_not_read(log, path):
    path.write_bytes(FIRST)
    (file,) = log.files()
    path.rename(f"{path}.1")
    with pytest.raises(Gone):
        log.read(file, 0)
    path.write_bytes(SECOND)
    with pytest.raises(Gone):
        log.mark(file, 0)
    os.unlink(path)  # noqa: PTH108  as Envoy's operator would
