"""Beta posteriors of two rates, compared without sampling: the same answer every time.

`better` is a finite sum of positive terms, since the parameters are whole numbers. The ratio of two rates has no such
form; its distribution is integrated over panels laid where the two densities have their mass.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq  # pyright: ignore[reportUnknownVariableType]  scipy has no stubs
from scipy.special import betainc, betainccinv, betaincinv, betaln, xlog1py, xlogy

Floats = NDArray[np.float64]

TERMS_AT_ONCE = 1 << 16
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)
TAILS = np.array([1e-18, 1e-15, 1e-12, 1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.05, 0.15, 0.3, 0.5])


@dataclass(frozen=True)
class Beta:
    """What is known of a rate after `alpha` - 1 positive and `beta` - 1 other outcomes, from a flat prior."""

    alpha: int
    beta: int

    @classmethod
    def after(cls, positive: int, outcomes: int) -> "Beta":
        return cls(1 + positive, 1 + outcomes - positive)

    @property
    def mean(self) -> float:
        return self.alpha / (self.alpha + self.beta)

    def quantile(self, level: float) -> float:
        return float(betaincinv(self.alpha, self.beta, level))

    def upper_quantile(self, tail: float) -> float:
        """The rate that is passed with probability `tail`; precise where 1 - tail would round to 1."""
        return float(betainccinv(self.alpha, self.beta, tail))

    def interval(self, mass: float = 0.95) -> tuple[float, float]:
        """Equal-tailed."""
        tail = (1 - mass) / 2
        return self.quantile(tail), self.upper_quantile(tail)

    def cdf(self, rates: Floats) -> Floats:
        return betainc(self.alpha, self.beta, np.clip(rates, 0.0, 1.0))

    def density(self, rates: Floats) -> Floats:
        log = xlogy(self.alpha - 1, rates) + xlog1py(self.beta - 1, -rates) - betaln(self.alpha, self.beta)
        return np.exp(log)

    @cached_property
    def grid(self) -> Floats:
        """Rates from deep in the lower tail to deep in the upper one."""
        return np.concatenate(
            [betaincinv(self.alpha, self.beta, TAILS), betainccinv(self.alpha, self.beta, TAILS[::-1])]
        )


def better(one: Beta, other: Beta) -> float:
    """P(one's rate > other's rate), exact.

    The sum has as many terms as one parameter says; four identities allow for the smallest of the four.
    """
    ways: tuple[tuple[int, Callable[[], float]], ...] = (
        (one.alpha, lambda: _above(other.alpha, other.beta, one.alpha, one.beta)),
        (other.alpha, lambda: 1 - _above(one.alpha, one.beta, other.alpha, other.beta)),
        (other.beta, lambda: _above(one.beta, one.alpha, other.beta, other.alpha)),
        (one.beta, lambda: 1 - _above(other.beta, other.alpha, one.beta, one.alpha)),
    )
    _, shortest = min(ways, key=lambda way: way[0])
    return min(1.0, max(0.0, shortest()))


def _above(a: int, b: int, c: int, d: int) -> float:
    """P(Beta(c, d) > Beta(a, b)) = sum over i < c of B(a+i, b+d) / ((d+i) B(1+i, d) B(a, b))."""
    sums: list[float] = []
    for first in range(0, c, TERMS_AT_ONCE):
        i = np.arange(first, min(first + TERMS_AT_ONCE, c), dtype=np.float64)
        logs = betaln(a + i, b + d) - np.log(d + i) - betaln(1 + i, d) - betaln(a, b)
        sums.append(float(np.exp(logs).sum()))
    return math.fsum(sums)


def ratio_cdf(one: Beta, other: Beta, ratio: float) -> float:
    """P(one's rate <= ratio * other's rate): the other's density times one's distribution, integrated."""
    edges = np.unique(np.concatenate([other.grid, one.grid / ratio]))
    edges = edges[(edges >= other.grid[0]) & (edges <= other.grid[-1])]
    halves = np.diff(edges)[:, None] / 2
    rates = edges[:-1, None] + halves * (1 + NODES[None, :])
    values = other.density(rates) * one.cdf(rates * ratio)
    return float(np.sum(values * halves * WEIGHTS[None, :]))


def ratio_interval(one: Beta, other: Beta, mass: float = 0.95) -> tuple[float, float]:
    """Equal-tailed credible interval of one's rate divided by other's."""
    tail = (1 - mass) / 2
    # If neither rate is in its outer `tail / 4`, the ratio is between these: the quantiles must be, too
    outer = tail / 4
    low = math.log(one.quantile(outer) / other.upper_quantile(outer))
    high = math.log(one.upper_quantile(outer) / other.quantile(outer))

    def at(level: float) -> float:
        def distance(log_ratio: float) -> float:
            return ratio_cdf(one, other, math.exp(log_ratio)) - level

        return math.exp(cast(float, brentq(distance, low, high)))

    return at(tail), at(1 - tail)
