"""Who owns which bucket of a layer."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.assignment import BUCKETS, bucket, owner
from libs.errors import Faults, Invalid, Precondition
from services.experimentation.domain.allocation import allocated, assign, check_units, require_room
from services.experimentation.domain.experiment import Draft, Experiment, State, Variant
from services.experimentation.domain.outcome import Outcome, check_outcomes

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def experiment(first, weights, coverage=BUCKETS, name="e", state=State.RUNNING):
    variants = tuple(Variant(f"v{n}", str(n + 1), weight) for n, weight in enumerate(weights))
    return Experiment(Draft(name, "m", variants, coverage, first), "salt", state, NOON)


@st.composite
def experiments(draw):
    count = draw(st.integers(2, 10))
    first = draw(st.integers(0, BUCKETS - count))
    cuts = draw(st.lists(st.integers(first + 1, BUCKETS), min_size=count, max_size=count, unique=True))
    edges = [first, *sorted(cuts)]
    weights = [end - start for start, end in itertools.pairwise(edges)]
    found = experiment(first, weights, draw(st.integers(1, BUCKETS)))
    faults = Faults()
    found.draft.check(faults)
    return found if not faults else replace(found, draft=replace(found.draft, coverage=BUCKETS))


@given(experiments())
def test_ranges_are_disjoint_in_order_inside_the_slice_and_one_a_variant(one):
    owned = allocated(one)
    assert [r.variant for r in owned] == [v.name for v in one.draft.variants]
    edge = one.draft.first_bucket
    for r in owned:
        assert edge <= r.start < r.end
        edge = r.end
    assert edge <= one.draft.first_bucket + sum(v.weight for v in one.draft.variants) <= BUCKETS


@given(experiments(), st.data())
def test_more_coverage_only_adds_units(one, data):
    more = replace(one, draft=replace(one.draft, coverage=data.draw(st.integers(one.draft.coverage, BUCKETS))))
    for b in range(0, BUCKETS, 7):
        before = owner(allocated(one), b)
        assert before is None or owner(allocated(more), b).variant == before.variant


@given(st.lists(st.text(min_size=1), max_size=50))
def test_assign_is_the_function_that_envoy_shares(units):
    one = experiment(1000, [3000, 3000], coverage=5000)
    for found, unit in zip(assign(one, units), units, strict=True):
        mine = owner(allocated(one), bucket(unit, "salt"))
        assert (found.unit, found.bucket) == (unit, bucket(unit, "salt"))
        assert (found.variant, found.version) == ((mine.variant, mine.version) if mine else ("", ""))


@pytest.mark.parametrize("state", [State.DRAFT, State.STOPPED, State.GRADUATED])
def test_only_a_running_experiment_assigns(state):
    assert {a.variant for a in assign(experiment(0, [5000, 5000], state=state), map(str, range(100)))} == {""}


def test_units_of_every_range_get_their_variant():
    found = assign(experiment(0, [2000, 8000]), map(str, range(2000)))
    share = sum(a.variant == "v0" for a in found) / 2000
    assert 0.16 < share < 0.24
    assert {(a.variant, a.version) for a in found} == {("v0", "1"), ("v1", "2")}


@pytest.mark.parametrize(
    ("first", "weights"), [(5999, [1, 1]), (0, [3000, 3001]), (7000, [1, 1]), (5000, [3000, 2000])]
)
def test_overlapping_slices_are_refused(first, weights):
    with pytest.raises(Precondition, match="'other'") as refused:
        require_room(experiment(first, weights), [experiment(6000, [1000, 1000], name="other")])
    assert refused.value.reason == "ALLOCATION_OVERLAP"


def test_neighbouring_slices_are_not():
    others = [experiment(2000, [1000, 1000], name="left"), experiment(6000, [1000, 1000], name="right")]
    require_room(experiment(4000, [1000, 1000]), others)


def test_a_gap_that_low_coverage_leaves_is_not_for_others():
    with pytest.raises(Precondition):
        require_room(experiment(500, [100, 100]), [experiment(0, [1000, 1000], coverage=1000, name="other")])


def test_units_are_checked_all_at_once():
    check_units(["a", "b" * 1024])
    with pytest.raises(Invalid) as refused:
        check_units(["", "ok", "é" * 513])
    assert [v.field for v in refused.value.violations] == ["units[0]", "units[2]"]
    with pytest.raises(Invalid, match="at most 10000"):
        check_units(["a"] * 10_001)


@pytest.mark.parametrize("unit", ["\0", "a\nb", "a\tb", "\x7f"])
def test_a_unit_that_no_caller_can_have_is_none(unit):
    with pytest.raises(Invalid):
        check_units([unit])
    faults = Faults()
    check_outcomes(faults, [Outcome("e", "o", unit, positive=True, event_time=NOON)])
    with pytest.raises(Invalid) as raised:
        faults.check()
    assert [violation.field for violation in raised.value.violations] == ["outcomes[0].unit"]
