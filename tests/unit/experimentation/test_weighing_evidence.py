"""The rule that names a winner, the split against the plan, and what the verdict says."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.experimentation.domain.analysis import analyse
from services.experimentation.domain.beta import Beta, better
from services.experimentation.domain.evidence import Evidence, Tally
from services.experimentation.domain.experiment import Direction, Draft, Experiment, State, Variant

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DRAFT = Draft("delays", "flight-delay", (Variant("linear", "1", 5000), Variant("boosted", "2", 5000)))
EXPERIMENT = Experiment(DRAFT, "salt", State.RUNNING, NOON)


def weigh(control, other, units=(0, 0), **changes):
    """`control` and `other` are (positive, outcomes)."""
    tallies = {
        "linear": Tally(units[0], units[0], control[1], control[0]),
        "boosted": Tally(units[1], units[1], other[1], other[0]),
    }
    return analyse(replace(EXPERIMENT, draft=replace(DRAFT, **changes)), Evidence(tallies))


def test_figures_are_those_of_the_posteriors():
    analysis = weigh((100, 1000), (130, 1000), units=(400, 420))
    control, other = analysis.variants
    assert (control.variant, control.version, control.rate) == ("linear", "1", Beta(101, 901))
    assert (control.probability_better, control.lift, control.lift_interval) == (0, 0, (0, 0))
    assert other.rate == Beta(131, 871)
    assert other.probability_better == better(Beta(131, 871), Beta(101, 901))
    assert other.lift == pytest.approx(131 / 101 - 1)
    assert other.lift_interval[0] < other.lift < other.lift_interval[1]


def test_a_winner_is_sure_and_good_enough():
    analysis = weigh((100, 1000), (140, 1000))
    assert analysis.winner == "boosted"
    assert analysis.verdict.startswith("boosted wins with P(")


def test_sure_is_not_enough():
    analysis = weigh((10_000, 100_000), (10_300, 100_000), minimum_lift=0.05)
    assert analysis.variants[1].probability_better > 0.95
    assert analysis.winner == ""
    assert "needs > 5.0%" in analysis.verdict


def test_much_is_not_enough():
    analysis = weigh((1, 10), (2, 10))
    assert analysis.variants[1].lift > 0.4
    assert analysis.winner == ""


def test_a_control_without_outcomes_loses_to_nobody():
    analysis = weigh((0, 0), (1000, 1000))
    assert analysis.winner == ""
    assert analysis.verdict == "no winner: the control linear has no outcomes yet"


def test_no_outcomes_is_said_so():
    assert weigh((0, 0), (0, 0)).verdict == "no winner: no outcome has been joined to an exposure yet"


def test_where_low_is_good_low_wins():
    high = weigh((100, 1000), (140, 1000), direction=Direction.LOWER)
    assert high.winner == ""
    assert high.variants[1].probability_better < 0.05
    low = weigh((140, 1000), (100, 1000), direction=Direction.LOWER, minimum_lift=0.1)
    assert low.winner == "boosted"
    assert low.variants[1].lift < -0.1
    assert "needs < -10.0%" in low.verdict
    assert weigh((140, 1000), (100, 1000), direction=Direction.LOWER, minimum_lift=0.5).winner == ""


def test_of_several_the_one_with_the_most_gain_wins():
    variants = (*DRAFT.variants, Variant("deep", "3", 100), Variant("broken", "4", 100))
    experiment = replace(EXPERIMENT, draft=replace(DRAFT, variants=variants))
    tallies = {
        "linear": Tally(outcomes=1000, positive=100),
        "boosted": Tally(outcomes=1000, positive=140),
        "deep": Tally(outcomes=1000, positive=160),
        "broken": Tally(outcomes=1000, positive=10),
    }
    assert analyse(experiment, Evidence(tallies)).winner == "deep"


counts = st.integers(0, 3000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(deadline=None, max_examples=60)
@given(counts, counts, st.floats(0, 0.5))
def test_whoever_wins_meets_the_rule(control, other, minimum):
    analysis = weigh(control, other, minimum_lift=minimum)
    variant = analysis.variants[1]
    meets = control[1] > 0 and variant.probability_better > 0.95 and variant.lift > minimum
    assert (analysis.winner == "boosted") == meets


def test_the_split_is_tested_by_chi_square_on_the_buckets():
    variants = (Variant("linear", "1", 2000), Variant("boosted", "2", 8000))
    analysis = weigh((0, 0), (0, 0), units=(230, 770), variants=variants, coverage=5000)
    assert analysis.split_p_value == pytest.approx(stats.chisquare([230, 770], [200, 800]).pvalue)
    assert "Distrust" not in analysis.verdict


def test_a_split_that_is_off_is_an_alarm():
    analysis = weigh((100, 1000), (140, 1000), units=(400, 600))
    assert analysis.split_p_value < 0.001
    assert "units are not split as planned" in analysis.verdict


def test_few_units_say_nothing_of_the_split():
    assert weigh((0, 0), (0, 0), units=(0, 15)).split_p_value is None
    assert weigh((0, 0), (0, 0), units=(1, 15)).split_p_value is not None


def test_mixed_units_are_told():
    analysis = analyse(EXPERIMENT, Evidence({}, mixed_units=3))
    assert "3 units were served by several variants" in analysis.verdict
