"""What was known last comes back from disk, or nothing does."""

import json
import logging

from hypothesis import given
from hypothesis import strategies as st

from services.routing.domain.known import Known
from services.routing.domain.policy import Retries, Route
from services.routing.stores.last_known import LastKnownFile

seconds = st.floats(allow_nan=False, allow_infinity=False)
retries = st.builds(Retries, st.integers(), seconds, seconds, seconds)
route = st.builds(Route, fallbacks=..., load_balancing=..., timeout=seconds, retries=retries)
routes = st.none() | st.lists(route).map(tuple)


@given(known=st.builds(Known, routes=routes, deployed=..., allocations=..., unhealthy=...))
def test_what_is_written_is_read(tmp_path_factory, known):
    file = LastKnownFile(tmp_path_factory.mktemp("state") / "not there yet")
    assert file.read() == Known()
    file.write(known)
    assert file.read() == known


def test_a_file_that_cannot_be_read_is_no_file_and_is_reported(tmp_path, caplog):
    for content in ("", "{", "[]", json.dumps({"format": 99}), json.dumps({"format": 1, "deployed": None})):
        (tmp_path / "last_known.json").write_text(content)
        with caplog.at_level(logging.ERROR):
            assert LastKnownFile(tmp_path).read() == Known()
        assert "cannot be read" in caplog.text
        caplog.clear()


def test_an_interrupted_write_leaves_the_last_one(tmp_path):
    file = LastKnownFile(tmp_path)
    file.write(Known(routes=()))
    (tmp_path / "last_known.new").write_text('{"format"')
    assert file.read() == Known(routes=())
    file.write(Known(unhealthy=()))
    assert file.read() == Known(unhealthy=())
