"""How servers share calls where they are weighed: as 1/p99 of their answers, slowly and within bounds.

What a server is given changes what is measured of it, half a window later: whoever follows at once swings to and fro.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from services.health_monitoring.domain.calls import Statistics

EVEN = 100
"""The weight of a server that is as fast as the others, or of which too little is known. It is the geometric mean."""
STEP_SECONDS = 5.0

Measured = Mapping[str, Statistics]
"""What one model version's calls say of each server that has it."""


@dataclass(frozen=True, slots=True)
class WeighingRules:
    """A step goes `pull` of the way to the aim, by a factor of at most `longest_step`; `release` of the way back where
    too little is known. A server that its weight leaves too few calls for would else be up and down all the time.

    `widest` bounds the fastest server's weight over the slowest's, so that the slowest is still measured.
    """

    least_calls: int = 20
    widest: float = 10.0
    pull: float = 0.25
    release: float = 0.05
    longest_step: float = 1.25
    told_from: float = 0.1
    """A weight is told anew when it is another by more than this part of the one that was told."""


@dataclass(frozen=True, slots=True)
class Weight:
    """`told` is what others know; `level` the logarithm of the weight over EVEN as it is now."""

    told: int = EVEN
    reason: str = ""
    level: float = 0.0

    @classmethod
    def remembered(cls, told: int, reason: str) -> "Weight":
        return cls(told, reason, math.log(told / EVEN))


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a server is: its p99 over the servers' geometric mean. Made of so many calls."""

    slowness: float
    calls: int


def paces(measured: Iterable[Measured], rules: WeighingRules) -> Mapping[str, Pace]:
    """Of the servers that can be compared: like with like, each model version with the same one elsewhere.

    A server that has a slow model alone is not slow. p99 and not the mean: answers that fail fast do not make it small.
    """
    logs: defaultdict[str, float] = defaultdict(float)
    calls: defaultdict[str, int] = defaultdict(int)
    for version in measured:
        known = {s: seen for s, seen in version.items() if seen.calls >= rules.least_calls and seen.p99 > 0}
        if len(known) > 1:
            mean = sum(math.log(seen.p99) for seen in known.values()) / len(known)
            for server, seen in known.items():
                logs[server] += seen.calls * (math.log(seen.p99) - mean)
                calls[server] += seen.calls
    relative = {server: total / calls[server] for server, total in logs.items()}
    centre = sum(relative.values()) / max(len(relative), 1)
    return {server: Pace(math.exp(each - centre), calls[server]) for server, each in relative.items()}


def step(weight: Weight, pace: Pace | None, rules: WeighingRules) -> Weight:
    """The weight one step later; `pace` is None where too little is known."""
    most = math.log(rules.widest) / 2
    aim, part = (0.0, rules.release) if pace is None else (_within(-math.log(pace.slowness), most), rules.pull)
    level = weight.level + _within(part * (aim - weight.level), math.log(rules.longest_step))
    now = round(EVEN * math.exp(level))
    if abs(now - weight.told) <= rules.told_from * weight.told:
        return Weight(weight.told, weight.reason, level)
    return Weight(now, _reason(pace), level)


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value))


def _reason(pace: Pace | None) -> str:
    if pace is None:
        return "too few calls to compare it with other servers"
    return f"p99 is {pace.slowness:.2g} times the mean of the servers, by {pace.calls} calls"
