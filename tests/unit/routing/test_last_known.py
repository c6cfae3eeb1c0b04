"""What was known last comes back from disk, or nothing does."""

import json
import logging

from hypothesis import given
from hypothesis import strategies as st

from services.routing.domain.known import Known
from services.routing.domain.policy import RateLimit, Retries, Route
from services.routing.stores.last_known import LastKnownFile

seconds = st.floats(allow_nan=False, allow_infinity=False)
retries = st.builds(Retries, st.integers(), seconds, seconds)
route = st.builds(Route, fallbacks=..., load_balancing=..., timeout=seconds, retries=retries)
limit = st.builds(RateLimit, requests_per_second=seconds)
limits = st.none() | st.lists(limit).map(tuple)
routes = st.none() | st.lists(route).map(tuple)


@given(
    known=st.builds(
        Known, routes=routes, deployed=..., allocations=..., unhealthy=..., keys=..., limits=limits, weights=...
    )
)
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


def test_a_file_of_a_release_without_keys_tells_all_but_them(tmp_path):
    file = LastKnownFile(tmp_path)
    file.write(Known(routes=(Route("m", "1"),), keys=(), limits=()))
    content = json.loads((tmp_path / "last_known.json").read_text())
    del content["keys"], content["limits"], content["weights"]
    (tmp_path / "last_known.json").write_text(json.dumps(content))
    assert file.read() == Known(routes=(Route("m", "1"),))


def test_only_its_owner_may_read_it(tmp_path):
    LastKnownFile(tmp_path).write(Known(keys=()))
    assert (tmp_path / "last_known.json").stat().st_mode & 0o777 == 0o600


def test_an_interrupted_write_leaves_the_last_one(tmp_path):
    file = LastKnownFile(tmp_path)
    file.write(Known(routes=()))
    (tmp_path / "last_known.new").write_text('{"format"')
    assert file.read() == Known(routes=())
    file.write(Known(unhealthy=()))
    assert file.read() == Known(unhealthy=())
