"""The state machine of one target."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.health_monitoring.domain.belief import (
    Belief,
    Outcome,
    Probe,
    State,
    Thresholds,
    after_calls,
    after_probe,
    nothing,
)

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
THRESHOLDS = Thresholds(fall=2, rise=2)
PASS, FAIL, SILENCE = Outcome.PASSED, Outcome.FAILED, Outcome.UNANSWERED

outcomes = st.lists(st.sampled_from(Outcome), max_size=40)
# a probe's outcome, or what calls say
events = st.lists(st.one_of(st.sampled_from(Outcome), st.sampled_from(["", "all calls fail"])), max_size=60)
thresholds = st.builds(Thresholds, st.integers(1, 5), st.integers(1, 5))


def beliefs(happened: list[Outcome | str], rules: Thresholds = THRESHOLDS) -> list[Belief]:
    """The belief at the start and after each event, a second apart."""
    found = [nothing(START)]
    for second, event in enumerate(happened, start=1):
        now = START + timedelta(seconds=second)
        before = found[-1]
        if isinstance(event, Outcome):
            found.append(after_probe(before, Probe(now, event, str(event), 0.001), rules))
        else:
            found.append(after_calls(before, event, now))
    return found


def states(*happened: Outcome | str) -> list[State]:
    return [belief.state for belief in beliefs(list(happened))]


def test_without_a_probe_nobody_knows() -> None:
    belief = nothing(START)
    assert (belief.state, belief.settled, belief.in_doubt) == (State.UNKNOWN, False, True)


def test_one_pass_is_enough_for_a_new_target() -> None:
    assert states(PASS)[-1] is State.HEALTHY


def test_one_failure_is_not_enough_two_are() -> None:
    assert states(PASS, FAIL, FAIL)[1:] == [State.HEALTHY, State.HEALTHY, State.UNHEALTHY]


def test_one_silence_is_not_enough_two_are() -> None:
    assert states(PASS, SILENCE, SILENCE)[1:] == [State.HEALTHY, State.HEALTHY, State.UNKNOWN]


def test_the_newest_failure_names_the_state() -> None:
    assert states(PASS, SILENCE, FAIL)[-1] is State.UNHEALTHY
    assert states(PASS, FAIL, FAIL, SILENCE)[-1] is State.UNKNOWN


def test_coming_back_takes_two_passes_in_a_row() -> None:
    assert states(PASS, FAIL, FAIL, PASS, FAIL, PASS)[-1] is State.UNHEALTHY
    assert states(PASS, FAIL, FAIL, PASS, PASS)[-1] is State.HEALTHY


def test_silence_from_the_first_moment_is_evidence_once_it_lasts() -> None:
    first, second = beliefs([SILENCE, SILENCE])[1:]
    assert (first.state, first.settled) == (State.UNKNOWN, False)
    assert (second.state, second.settled) == (State.UNKNOWN, True)
    assert second.reason == "2 probes in a row failed: unanswered"
    assert second.since == START


def test_failing_calls_condemn_a_target_whose_probes_pass() -> None:
    belief = beliefs([PASS, "40 of 50 calls in 30 s failed"])[-1]
    assert belief.state is State.UNHEALTHY
    assert belief.reason == "probes pass, but 40 of 50 calls in 30 s failed"
    assert after_calls(belief, "", START).state is State.HEALTHY


def test_a_target_that_came_back_is_not_held_to_the_calls_before() -> None:
    assert states(PASS, "all calls fail", FAIL, FAIL, PASS, PASS)[-1] is State.HEALTHY


def test_the_reason_is_of_the_moment_when_the_state_was_entered() -> None:
    entered, later = beliefs([PASS, FAIL, FAIL, FAIL])[-2:]
    assert entered.reason == "2 probes in a row failed: failed"
    assert (later.reason, later.since, later.consecutive) == (entered.reason, entered.since, 3)


@given(outcomes, thresholds)
def test_leaving_healthy_takes_a_row_of_failures_and_entering_it_a_row_of_passes(
    happened: list[Outcome], rules: Thresholds
) -> None:
    for (before, after), position in zip(pairwise(beliefs(happened, rules)), range(len(happened)), strict=True):
        if before.state is State.HEALTHY and after.state is not State.HEALTHY:
            row = happened[position + 1 - rules.fall : position + 1]
            assert len(row) == rules.fall
            assert PASS not in row
        if before.state is not State.HEALTHY and after.state is State.HEALTHY and before.settled:
            assert happened[position + 1 - rules.rise : position + 1] == [PASS] * rules.rise


@given(outcomes, thresholds)
def test_enough_in_a_row_always_decides(happened: list[Outcome], rules: Thresholds) -> None:
    assert beliefs([*happened, *[PASS] * rules.rise], rules)[-1].state is State.HEALTHY
    assert beliefs([*happened, *[FAIL] * rules.fall], rules)[-1].state is State.UNHEALTHY
    assert beliefs([*happened, *[SILENCE] * rules.fall], rules)[-1].state is State.UNKNOWN


@given(events, thresholds)
def test_a_target_is_never_stuck(happened: list[Outcome | str], rules: Thresholds) -> None:
    assert beliefs([*happened, "", *[PASS] * rules.rise], rules)[-1].state is State.HEALTHY


@given(events, thresholds)
def test_calls_only_ever_turn_healthy_into_unhealthy(happened: list[Outcome | str], rules: Thresholds) -> None:
    probes_alone = [event for event in happened if isinstance(event, Outcome)]
    belief, probed = beliefs(happened, rules)[-1], beliefs(list(probes_alone), rules)[-1]
    assert belief.probed is probed.state
    if belief.state is not probed.state:
        assert (probed.state, belief.state) == (State.HEALTHY, State.UNHEALTHY)
        assert belief.failing


@given(events, thresholds)
def test_what_is_published_changes_only_with_a_decision(happened: list[Outcome | str], rules: Thresholds) -> None:
    for before, after in pairwise(beliefs(happened, rules)):
        if (before.state, before.settled) == (after.state, after.settled):
            assert (after.reason, after.since) == (before.reason, before.since)
        if before.state is not after.state:
            assert after.since > before.since
        assert not (before.settled and not after.settled)


@given(outcomes)
def test_consecutive_counts_the_run_that_the_newest_probe_ends(happened: list[Outcome]) -> None:
    run = 0
    for outcome in reversed(happened):
        if (outcome is PASS) != (happened[-1] is PASS):
            break
        run += 1
    assert beliefs(list(happened))[-1].consecutive == run
