"""The file of the last policy: whole, private, and begun anew where it cannot be read."""

import sqlite3

import pytest

from deploy.envoy.keeper.shelf import Kept, Shelf

CLUSTER, OTHER = "type.googleapis.com/a.Cluster", "type.googleapis.com/a.Type.nobody.has.heard.of"


def kept(name, version="1"):
    return Kept(name, version, f"{name} {version}".encode())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "of one Envoy" / "policy.sqlite"


@pytest.fixture
def shelf(path):
    return Shelf(path)


def test_it_begins_empty(shelf):
    assert shelf.empty
    assert shelf.versions(CLUSTER) == {}


def test_what_was_put_is_there_for_the_next_process(shelf, path):
    shelf.change(CLUSTER, [kept("a"), kept("b")], [])
    shelf.change(OTHER, [kept("a", "7")], [])
    shelf.change(CLUSTER, [kept("a", "2")], ["b", "never there"])
    shelf.close()
    again = Shelf(path)
    assert not again.empty
    assert (again.versions(CLUSTER), again.versions(OTHER)) == ({"a": "2"}, {"a": "7"})
    assert list(again.read(CLUSTER, ["a", "b"])) == [kept("a", "2")]


def test_only_types_that_are_named_lose_what_is_not(shelf):
    shelf.change(CLUSTER, [kept("a"), kept("b")], [])
    shelf.change(OTHER, [kept("c")], [])
    shelf.retain({CLUSTER: {"b"}})
    assert (shelf.versions(CLUSTER), shelf.versions(OTHER)) == ({"b": "1"}, {"c": "1"})


def test_nobody_else_may_read_it(shelf, path):
    shelf.change(CLUSTER, [kept("a")], [])
    files = sorted(path.parent.iterdir())
    assert len(files) > 1, "the journal lies beside it"
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_a_file_that_cannot_be_read_is_begun_anew(path, caplog):
    path.parent.mkdir()
    path.write_bytes(b"this is no database, and has more than a hundred bytes, which is where SQLite looks" * 9)
    shelf = Shelf(path)
    assert shelf.empty
    assert "begins anew" in caplog.text
    shelf.change(CLUSTER, [kept("a")], [])
    assert list(shelf.read(CLUSTER, ["a"])) == [kept("a")]


def test_a_write_that_fails_leaves_nothing_that_is_out_of_date(shelf, path, caplog):
    shelf.change(CLUSTER, [kept("a")], [])
    with pytest.raises(sqlite3.Error):
        shelf.change(CLUSTER, [Kept("a", "2", object())], [])  # nothing that SQLite could write
    assert (shelf.sound, shelf.empty, list(path.parent.iterdir())) == (False, True, [])
    assert "nothing is kept" in caplog.text
    with pytest.raises(sqlite3.Error):
        shelf.change(CLUSTER, [kept("b")], [])
    assert shelf.begun_anew()
    assert (shelf.sound, shelf.empty) == (True, True)
    shelf.change(CLUSTER, [kept("a", "3")], [])
    assert Shelf(path).versions(CLUSTER) == {"a": "3"}


def test_it_is_not_begun_anew_where_nothing_can_be_written(shelf, path):
    shelf.close()
    with pytest.raises(sqlite3.Error):
        shelf.retain({})
    path.parent.rmdir()
    assert not shelf.begun_anew()
    assert not shelf.sound


def test_what_was_written_is_on_disk_before_it_is_acknowledged(shelf):
    assert shelf._database.execute("PRAGMA synchronous").fetchone() == (2,)
