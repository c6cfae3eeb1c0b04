"""Windows of calls, their quantiles, and when they condemn."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from services.health_monitoring.domain.allowance import Allowance
from services.health_monitoring.domain.calls import CallRules, CallWindow, failing, statistics

RULES = CallRules(window=30, least_calls=20, error_ratio=0.5)
calls = st.lists(
    st.tuples(st.integers(0, 3), st.floats(1e-5, 100, allow_nan=False), st.booleans()),
    max_size=80,
)


@given(calls, st.integers(1, 10), st.integers(0, 12))
def test_a_window_holds_the_calls_of_its_last_seconds(
    happened: list[tuple[int, float, bool]], length: int, later: int
) -> None:
    window, second, seen = CallWindow(length), 0, list[tuple[int, float, bool]]()
    for pause, latency, error in happened:
        second += pause
        window.add(second, latency, error=error)
        seen.append((second, latency, error))
    now = second + later
    kept = [(latency, error) for when, latency, error in seen if now - length < when <= now]
    assert window.counts(now) == (len(kept), sum(error for _, error in kept))
    told = statistics([window], length, now)
    if not kept:
        assert told is None
        return
    assert told is not None
    assert told.calls == len(kept)
    assert math.isclose(told.rate, len(kept) / length)
    latencies = sorted(latency for latency, _ in kept)
    for quantile, value in ((0.5, told.p50), (0.99, told.p99)):
        exact = latencies[int(quantile * (len(latencies) - 1))]
        assert abs(value - exact) <= 0.011 * exact


def test_reading_a_window_changes_nothing_in_it() -> None:
    window = CallWindow(10)
    for second in range(3):
        window.add(second, 0.01 * (second + 1), error=False)
    first = statistics([window, window], 10, 2)
    assert first is not None
    assert first.calls == 6
    assert statistics([window, window], 10, 2) == first


def test_calls_condemn_only_when_there_are_enough_of_them() -> None:
    assert not failing(RULES, 19, 19, already=False)
    assert failing(RULES, 20, 10, already=False) == "10 of 20 calls in 30 s failed"
    assert not failing(RULES, 20, 9, already=False)


def test_once_condemned_half_of_the_share_is_enough_to_stay_so() -> None:
    assert failing(RULES, 100, 25, already=True)
    assert not failing(RULES, 100, 24, already=True)
    assert not failing(RULES, 100, 25, already=False)


def test_without_traffic_evidence_decays() -> None:
    window = CallWindow(RULES.window)
    for _ in range(100):
        window.add(7, 0.01, error=True)
    assert failing(RULES, *window.counts(36), already=True)
    assert not failing(RULES, *window.counts(37), already=True)


def test_an_allowance_is_for_one_second() -> None:
    allowance = Allowance(0.2)
    assert allowance.left(5.0)
    allowance.spend(0.19)
    assert allowance.left(5.5)
    allowance.spend(0.02)
    assert not allowance.left(5.9)
    assert allowance.left(6.0)


def test_what_was_spent_late_in_a_second_is_not_owed_in_the_next() -> None:
    allowance = Allowance(0.2)
    allowance.left(1.0)
    allowance.spend(3.0)
    assert allowance.left(2.0)
