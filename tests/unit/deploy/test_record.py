from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import record
from deploy.local.places import Places
from deploy.local.processes import Identity
from deploy.local.record import PartRecord, Record


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    made = Places.of(tmp_path / "home")
    yield made
    shutil.rmtree(made.run)


def test_what_is_written_is_read(places: Places) -> None:
    parts = {
        "redis": PartRecord(Identity.mine(), ready=True, restarts=2, since=1.5, problem="", ports={"redis": 16379}),
        "envoy": PartRecord(problem="held down", held=True, failures=3),
    }
    written = Record(Identity.mine(), parts, stopping=True)
    record.write(places, written)
    assert record.read(places) == written
    assert not written.serves()
    record.remove(places)
    assert record.read(places) is None


def test_a_file_that_is_no_record_counts_as_none(places: Places) -> None:
    (places.home / "state").write_text("{torn")
    assert record.read(places) is None


def test_marks_hold_and_release(places: Places) -> None:
    assert record.held(places) == frozenset()
    record.hold(places, "routing")
    record.hold(places, "redis")
    record.release(places, "redis")
    record.release(places, "never held")
    assert record.held(places) == {"routing"}
