"""Weights follow 1/p99, in bounded steps, within bounds, and come to rest."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.health_monitoring.domain.calls import Statistics
from services.health_monitoring.domain.weighing import EVEN, STEP_SECONDS, Pace, WeighingRules, Weight, paces, step

RULES = WeighingRules()
LOWEST, HIGHEST = EVEN / math.sqrt(RULES.widest), EVEN * math.sqrt(RULES.widest)

p99s = st.floats(1e-4, 100)
seen = st.builds(lambda p99, calls: Statistics(30, calls, 0, p99 / 2, p99), p99s, st.integers(0, 500))
versions = st.lists(st.dictionaries(st.sampled_from("abcde"), seen), max_size=4)


def of(**p99: float) -> list[dict[str, Statistics]]:
    """One version, enough calls."""
    return [{server: Statistics(30, 100, 0, each / 2, each) for server, each in p99.items()}]


EVENLY = Weight()


def walk(measured, weight=EVENLY, server="a", steps=150):
    walked = [weight]
    for _ in range(steps):
        walked.append(step(walked[-1], paces(measured, RULES).get(server), RULES))
    return walked


starts = st.builds(Weight.remembered, st.integers(32, 316), st.just(""))


@given(versions, starts, st.sampled_from("abcde"))
def test_every_walk_keeps_its_bounds_and_comes_to_rest(measured, start, server):
    walked = walk(measured, start, server)
    for before, after in pairwise(walked):
        assert abs(after.level - before.level) <= math.log(RULES.longest_step) + 1e-9
    assert all(round(LOWEST) <= each.told <= round(HIGHEST) for each in walked)
    assert walked[-1].told == walked[-10].told
    pace = paces(measured, RULES).get(server)
    aim = min(HIGHEST, max(LOWEST, EVEN / pace.slowness)) if pace else EVEN
    assert EVEN * math.exp(walked[-1].level) == pytest.approx(aim, rel=0.01)
    assert walked[-1].told == pytest.approx(aim, rel=0.13)
    approaching = [abs(each.level - math.log(aim / EVEN)) for each in walked]
    assert approaching == pytest.approx(sorted(approaching, reverse=True), abs=1e-9)


@given(st.dictionaries(st.sampled_from("abcde"), st.floats(0.01, 0.03), min_size=2))
def test_weights_are_as_one_over_p99_and_their_mean_stays(p99):
    """Their geometric mean: whatever is measured, what all servers are given adds up to the same order."""
    found = {server: EVEN * math.exp(walk(of(**p99), server=server)[-1].level) for server in p99}
    products = [found[server] * p99[server] for server in p99]
    assert products == pytest.approx([products[0]] * len(products), rel=0.01)
    assert math.prod(found.values()) ** (1 / len(found)) == pytest.approx(EVEN, rel=0.01)


@given(versions)
def test_the_slowest_is_never_further_from_the_fastest_than_allowed(measured):
    told = [walk(measured, server=server)[-1].told for server in "abcde"]
    assert max(told) / min(told) <= RULES.widest * 1.02  # whole numbers
    assert 5 * round(LOWEST) <= sum(told) <= 5 * round(HIGHEST)


def test_a_server_without_enough_calls_gets_the_mean():
    measured = of(a=0.1, b=0.01)
    measured[0]["c"] = Statistics(30, RULES.least_calls - 1, 0, 9, 9)
    assert "c" not in paces(measured, RULES)
    (after,) = walk(measured, Weight.remembered(250, "fast once"), "c")[-1:]
    assert (after.told, after.reason) == (
        pytest.approx(EVEN, rel=0.1),
        "too few calls to compare it with other servers",
    )


def test_a_slow_model_makes_no_slow_server():
    """Each version is compared with itself: `heavy` is on a alone, `large` takes longer everywhere."""
    measured = of(a=0.01, b=0.01) + of(a=5.0) + of(a=1.0, c=1.0)
    assert [pace.slowness for pace in paces(measured, RULES).values()] == pytest.approx([1, 1, 1])


def test_what_is_said_of_a_weight():
    weight = step(Weight(), Pace(3.16, 120), RULES)
    assert (weight.told, weight.reason) == (80, "p99 is 3.2 times the mean of the servers, by 120 calls")


def test_what_changes_little_is_not_told():
    told = [each.told for each in walk(of(a=0.0100, b=0.0108))]
    assert set(told) == {EVEN}


def answer_times(shares: list[float], rates: list[float], load: float) -> list[float]:
    """p99 of queues that serve so many calls a second each, at this load."""
    return [math.log(100) / max(rate - share * load, rate / 50) for share, rate in zip(shares, rates, strict=True)]


@given(st.lists(st.floats(80, 300), min_size=2, max_size=5), st.floats(0.05, 0.9))
def test_nothing_swings_where_fewer_calls_make_a_server_faster(rates, used):
    """A window of 30 s sees what was given out up to six steps ago."""
    load = used * min(rates) * len(rates)
    weights, windows = [Weight()] * len(rates), []
    history = []
    for _ in range(200):
        given_out = [math.exp(each.level) for each in weights]
        shares = [each / sum(given_out) for each in given_out]
        windows = [*windows[-5:], answer_times(shares, rates, load)]
        names = [str(n) for n in range(len(rates))]
        p99 = [max(each) for each in zip(*windows, strict=True)]
        found = paces(of(**dict(zip(names, p99, strict=True))), RULES)
        weights = [step(weight, found[name], RULES) for weight, name in zip(weights, names, strict=True)]
        history.append([each.told for each in weights])
    assert history[-40] == history[-1]


@given(st.floats(0.5, 20), st.floats(1.5, 50))
def test_a_server_that_its_weight_leaves_few_calls_stays_near_where_it_is(rate, slowness):
    """At two calls a second a weight of 32 leaves less than 20 in a window, which is too few to keep it there."""
    weights, windows, shares = [Weight(), Weight()], [], []
    for _ in range(300):
        given_out = [math.exp(each.level) for each in weights]
        shares.append(given_out[0] / sum(given_out))
        windows = [*windows[-5:], [rate * STEP_SECONDS * each / sum(given_out) for each in given_out]]
        calls = [int(sum(each)) for each in zip(*windows, strict=True)]
        p99 = (0.01 * slowness, 0.01)
        seen = {str(n): Statistics(30, calls[n], 0, each, each) for n, each in enumerate(p99) if calls[n]}
        found = paces([seen], RULES)
        weights = [step(weight, found.get(str(n)), RULES) for n, weight in enumerate(weights)]
    assert max(shares[-150:]) - min(shares[-150:]) < 0.16  # with `release` as large as `pull`: 0.25
