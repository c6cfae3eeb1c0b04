"""What an Envoy is given while no routing answers: what it lacks, nothing for what it has."""

import pytest

from deploy.envoy.keeper.shelf import Shelf
from deploy.envoy.keeper.standin import RESPONSE_BYTES, StandIn
from tests.unit.keeper.streams import ONE, TWO, accepts, asks, kept, resource


@pytest.fixture
def shelf(tmp_path):
    shelf = Shelf(tmp_path / "policy.sqlite")
    shelf.change(ONE, [kept("a"), kept("b")], [])
    return shelf


@pytest.fixture
def stand_in(shelf):
    return StandIn(shelf)


def test_who_asks_for_everything_gets_it(stand_in):
    (answer,) = stand_in.answer(asks())
    assert (answer.type_url, list(answer.resources)) == (ONE, [resource("a"), resource("b")])
    assert list(stand_in.answer(accepts(answer.nonce))) == []


def test_a_star_is_everything_too(stand_in):
    (answer,) = stand_in.answer(asks("*", "a"))
    assert [each.name for each in answer.resources] == ["a", "b"]


def test_who_asks_by_name_gets_that_and_hears_of_what_there_is_not(stand_in):
    (answer,) = stand_in.answer(asks("b", "nowhere"))
    assert list(answer.resources) == [resource("b")]
    assert list(answer.removed_resources) == ["nowhere"]
    (later,) = stand_in.answer(asks("a"))
    assert list(later.resources) == [resource("a")]


def test_what_envoy_has_is_neither_replaced_nor_removed(stand_in):
    assert list(stand_in.answer(asks(a="newer", b="1", unknown="5"))) == []
    assert list(stand_in.answer(asks("b", "unknown", url=TWO, b="9", unknown="5"))) == []


def test_an_envoy_that_waits_for_a_type_of_which_there_is_nothing_hears_so(stand_in):
    (answer,) = stand_in.answer(asks(url=TWO))
    assert (answer.type_url, list(answer.resources), list(answer.removed_resources)) == (TWO, [], [])


def test_much_goes_in_several_answers(shelf, stand_in):
    names = [f"large-{n}" for n in range(3)]
    shelf.change(TWO, [kept(name, "v" * (RESPONSE_BYTES // 2)) for name in names], [])
    answers = list(stand_in.answer(asks(url=TWO)))
    assert len(answers) == 3
    assert [each.name for answer in answers for each in answer.resources] == names
    assert len({answer.nonce for answer in answers}) == 3
