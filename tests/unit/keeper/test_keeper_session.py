"""What is kept of a stream: what Envoy has accepted, and nothing else."""

import pytest

from deploy.envoy.keeper import metrics
from deploy.envoy.keeper.session import Session
from deploy.envoy.keeper.shelf import Shelf
from tests.unit.keeper.streams import ONE, TWO, accepts, asks, kept, refuses, resource, response


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "policy.sqlite")


@pytest.fixture
def session(shelf):
    return Session(shelf)


def test_what_envoy_accepts_is_kept_as_it_was_sent(shelf, session):
    session.hear(asks())
    session.sent(response("1", resource("a"), resource("b")))
    assert shelf.empty
    session.hear(accepts("1"))
    assert list(shelf.read(ONE, ["a", "b"])) == [kept("a"), kept("b")]


def test_what_envoy_refuses_is_not(shelf, session):
    shelf.change(ONE, [kept("a")], [])
    session.hear(asks(a="1"))
    session.sent(response("1", resource("a", "2")))
    session.hear(refuses("1"))
    assert shelf.versions(ONE) == {"a": "1"}


def test_what_is_removed_goes(shelf, session):
    shelf.change(ONE, [kept("a"), kept("b")], [])
    session.hear(asks(a="1", b="1"))
    session.sent(response("1", removed=["a"]))
    session.hear(accepts("1"))
    assert shelf.versions(ONE) == {"b": "1"}


def test_a_new_envoy_that_has_all_of_a_newer_policy_ends_the_older(shelf, session):
    shelf.change(ONE, [kept("gone"), kept("same")], [])
    shelf.change(TWO, [kept("gone too")], [])
    session.hear(asks())
    session.hear(asks(url=TWO))
    session.sent(response("1", resource("same")))
    session.hear(accepts("1"))
    assert shelf.versions(ONE) == {"gone": "1", "same": "1"}, "until it has all, the older is better than half"
    session.whole("revision")
    assert (shelf.versions(ONE), shelf.versions(TWO)) == ({"same": "1"}, {})


def test_what_envoy_had_when_it_came_stays(shelf, session):
    shelf.change(ONE, [kept("a"), kept("b")], [])
    session.hear(asks(a="1", b="1"))
    session.whole("revision")
    assert shelf.versions(ONE) == {"a": "1", "b": "1"}


def test_a_type_that_envoy_has_not_asked_for_yet_stays(shelf, session):
    """Having come back it asks for one type after the other, and may have all of the policy before it has asked."""
    shelf.change(TWO, [kept("a")], [])
    session.hear(asks())
    session.whole("revision")
    assert shelf.versions(TWO) == {"a": "1"}


def test_what_envoy_has_and_the_shelf_has_not_is_asked_for_again(shelf, session):
    shelf.change(ONE, [kept("a"), kept("b", "old")], [])
    request = asks(a="1", b="2", c="3")
    session.hear(request)
    assert dict(request.initial_resource_versions) == {"a": "1", "b": "", "c": ""}


def test_a_name_that_envoy_wants_no_more_goes_with_the_next_whole_policy(shelf, session):
    shelf.change(ONE, [kept("a"), kept("b")], [])
    session.hear(asks("a", "b", a="1", b="1"))
    leaving = accepts("")
    leaving.resource_names_unsubscribe.append("b")
    session.hear(leaving)
    assert shelf.versions(ONE) == {"a": "1", "b": "1"}, "an Envoy that ends may say so of everything"
    session.whole("revision")
    assert shelf.versions(ONE) == {"a": "1"}


def test_a_disk_that_takes_nothing_stops_no_policy_and_is_told(shelf, session, caplog):
    session.hear(asks())
    session.sent(response("1", resource("a")))
    before = metrics.UNKEPT._value.get()
    shelf.close()
    session.hear(accepts("1"))
    session.whole("revision")
    assert metrics.UNKEPT._value.get() == before + 2
    assert "1 resources are not kept" in caplog.text
    assert shelf.versions(ONE) == {}, "so that it is sent again at the next stream"
