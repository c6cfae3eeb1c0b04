"""States of an experiment and what a draft may say."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from libs.errors import Faults, Invalid, Precondition
from services.experimentation.domain.experiment import Draft, Experiment, State, Variant

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DRAFT = Draft("delays", "flight-delay", (Variant("linear", "1", 5000), Variant("boosted", "2", 5000)))
EXPERIMENT = Experiment(DRAFT, "salt", State.DRAFT, NOON)


def faults_of(**changes) -> list[str]:
    faults = Faults()
    replace(DRAFT, **changes).check(faults)
    try:
        faults.check()
    except Invalid as error:
        return [violation.field for violation in error.violations]
    return []


def test_a_draft_may_be_right():
    assert faults_of() == []
    assert faults_of(model="a" * 127, name="b" * 63, description="é" * 2048) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "experiment.name"),
        ({"name": "Delays"}, "experiment.name"),
        ({"name": "a" * 64}, "experiment.name"),
        ({"model": ""}, "experiment.model"),
        ({"model": "-x"}, "experiment.model"),
        ({"model": "a" * 128}, "experiment.model"),
        ({"minimum_lift": -0.01}, "experiment.minimum_lift"),
        ({"minimum_lift": float("nan")}, "experiment.minimum_lift"),
        ({"minimum_lift": float("inf")}, "experiment.minimum_lift"),
        ({"minimum_lift": 1e308}, "experiment.minimum_lift"),
        ({"coverage": 10001}, "experiment.coverage"),
        ({"first_bucket": 1}, "experiment.variants"),
        ({"description": "a\0b"}, "experiment.description"),
        ({"description": "a" * 4097}, "experiment.description"),
        ({"variants": (Variant("a", "1", 1),)}, "experiment.variants"),
        ({"variants": tuple(Variant(f"v{n}", "1", 1) for n in range(11))}, "experiment.variants"),
        ({"variants": (Variant("a", "1", 1), Variant("a", "2", 1))}, "experiment.variants[1].name"),
        ({"variants": (Variant("a", "1", 1), Variant("", "2", 1))}, "experiment.variants[1].name"),
        ({"variants": (Variant("a", "1", 1), Variant("b", "v2", 1))}, "experiment.variants[1].version"),
        ({"variants": (Variant("a", "1", 1), Variant("b", "01", 1))}, "experiment.variants[1].version"),
        ({"variants": (Variant("a", "1", 1), Variant("b", "1" * 19, 1))}, "experiment.variants[1].version"),
        ({"variants": (Variant("a", "0", 1), Variant("b", "1", 1))}, "experiment.variants[0].version"),
        ({"variants": (Variant("a", "1", 0), Variant("b", "1", 1))}, "experiment.variants[0].weight"),
        (
            {"coverage": 100, "variants": (Variant("a", "1", 9), Variant("b", "1", 100))},
            "experiment.variants[0].weight",
        ),
    ],
)
def test_a_draft_may_be_wrong(changes, field):
    assert faults_of(**changes) == [field]


def test_all_faults_are_told_at_once():
    wrong = {"name": "?", "model": "?", "coverage": 10001, "variants": (Variant("?", "?", 0), Variant("b", "1", 10000))}
    assert len(faults_of(first_bucket=1, **wrong)) == 7


def test_a_life_goes_one_way():
    running = EXPERIMENT.started(NOON)
    assert (running.state, running.start_time) == (State.RUNNING, NOON)
    assert running.stopped(NOON).state is State.STOPPED
    graduated = running.graduated("boosted", NOON)
    assert (graduated.state, graduated.winner, graduated.end_time) == (State.GRADUATED, "boosted", NOON)


@pytest.mark.parametrize("state", list(State))
def test_no_state_allows_what_it_does_not(state):
    experiment = replace(EXPERIMENT, state=state)
    changes = {
        State.DRAFT: lambda: experiment.started(NOON),
        State.RUNNING: lambda: (experiment.stopped(NOON), experiment.graduated("boosted", NOON)),
    }
    for needs, change in changes.items():
        if needs is state:
            change()
        else:
            with pytest.raises(Precondition, match=state.value) as refused:
                change()
            assert refused.value.reason == "EXPERIMENT_STATE"


def test_graduating_again_has_nothing_to_do_for_the_same_variant_only():
    graduated = EXPERIMENT.started(NOON).graduated("boosted", NOON)
    assert graduated.has_graduated("")
    assert graduated.has_graduated("boosted")
    assert not graduated.has_graduated("linear")
    assert not EXPERIMENT.started(NOON).has_graduated("")
