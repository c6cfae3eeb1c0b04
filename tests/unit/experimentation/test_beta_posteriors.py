"""Exact Beta comparisons against rational arithmetic, scipy's quadrature and published figures."""

import itertools
import warnings
from fractions import Fraction
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from services.experimentation.domain.beta import Beta, better, ratio_cdf, ratio_interval

small = st.builds(Beta, st.integers(1, 12), st.integers(1, 12))
outcomes = st.integers(0, 20_000).flatmap(lambda n: st.builds(Beta.after, st.integers(0, n), st.just(n)))


def beta_function(a: int, b: int) -> Fraction:
    return Fraction(factorial(a - 1) * factorial(b - 1), factorial(a + b - 1))


def rational_better(one: Beta, other: Beta) -> Fraction:
    """The integral of one's density times other's distribution, both polynomials, in whole numbers.

    Another way than the product's: other's distribution is a binomial tail.
    """
    n = other.alpha + other.beta - 1
    terms = (
        comb(n, j) * beta_function(one.alpha + j, one.beta + n - j) / beta_function(one.alpha, one.beta)
        for j in range(other.alpha, n + 1)
    )
    return sum(terms, Fraction(0))


@given(small, small)
def test_better_equals_rational_arithmetic(one, other):
    assert better(one, other) == pytest.approx(float(rational_better(one, other)), abs=1e-13)


def test_better_equals_the_exact_figure_that_an_approximation_misses():
    # Beta(1+20, 1+80) and Beta(1+35, 1+65): gbstats 0.7's lognormal approximation is off in the third digit
    one, other = Beta.after(35, 100), Beta.after(20, 100)
    assert better(one, other) == pytest.approx(float(rational_better(one, other)), abs=1e-13)


@settings(max_examples=30, deadline=None)
@given(outcomes, outcomes)
def test_better_equals_quadrature(one, other):
    def integrand(rate):
        return stats.beta.pdf(rate, other.alpha, other.beta) * stats.beta.sf(rate, one.alpha, one.beta)

    edges = sorted({*map(float, one.grid), *map(float, other.grid)})
    with warnings.catch_warnings():
        # deep in the tails quad complains of round-off that is smaller than what is compared here
        warnings.simplefilter("ignore", integrate.IntegrationWarning)
        area = sum(integrate.quad(integrand, a, b, epsabs=1e-14)[0] for a, b in itertools.pairwise(edges))
    assert better(one, other) == pytest.approx(area, abs=1e-8)


@settings(deadline=None)
@given(outcomes, outcomes)
def test_either_one_is_better_or_the_other(one, other):
    assert better(one, other) + better(other, one) == pytest.approx(1, abs=1e-9)
    assert 0 <= better(one, other) <= 1


@settings(deadline=None)
@given(outcomes)
def test_a_rate_is_as_good_as_its_equal(rate):
    assert better(rate, rate) == pytest.approx(0.5, abs=1e-9)


@settings(deadline=None)
@given(outcomes, outcomes)
def test_one_more_success_makes_a_rate_better(one, other):
    more = Beta(one.alpha + 1, one.beta)
    assert better(more, other) >= better(one, other) - 1e-9


@settings(deadline=None)
@given(outcomes, outcomes)
def test_the_sum_and_the_panels_agree_where_both_can_answer(one, other):
    assert 1 - ratio_cdf(one, other, 1.0) == pytest.approx(better(one, other), abs=1e-8)


@settings(max_examples=50, deadline=None)
@given(outcomes, outcomes)
def test_the_interval_holds_95_percent_of_the_ratio(one, other):
    low, high = ratio_interval(one, other)
    assert 0 < low < high
    assert ratio_cdf(one, other, low) == pytest.approx(0.025, abs=1e-8)
    assert ratio_cdf(one, other, high) == pytest.approx(0.975, abs=1e-8)


@settings(max_examples=50, deadline=None)
@given(outcomes, outcomes)
def test_turning_the_ratio_over_turns_its_interval_over(one, other):
    low, high = ratio_interval(one, other)
    assert ratio_interval(other, one) == pytest.approx((1 / high, 1 / low), rel=1e-6)


def test_the_interval_is_where_a_million_samples_put_it():
    one, other = Beta.after(620, 5000), Beta.after(540, 5000)
    draw = np.random.default_rng(7)
    ratios = draw.beta(one.alpha, one.beta, 1_000_000) / draw.beta(other.alpha, other.beta, 1_000_000)
    assert ratio_interval(one, other) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])), rel=2e-3)


def test_extremes_have_answers():
    nothing, everything = Beta.after(0, 1_000_000), Beta.after(1_000_000, 1_000_000)
    assert better(everything, nothing) == pytest.approx(1)
    assert better(nothing, everything) == pytest.approx(0)
    low, high = ratio_interval(everything, nothing)
    assert 0 < low < high < float("inf")


def test_a_rate_has_the_interval_of_scipy():
    rate = Beta.after(30, 100)
    assert rate.interval() == pytest.approx(stats.beta.interval(0.95, 31, 71))
    assert rate.mean == 31 / 102
