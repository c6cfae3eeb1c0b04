"""What is told of a target: its state, what follows for traffic, how it came about, and what outlives a restart."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from services.health_monitoring.domain.belief import Belief, State
from services.health_monitoring.domain.target import Kind, Target
from services.health_monitoring.domain.weighing import EVEN, Weight


@dataclass(frozen=True, slots=True)
class Health:
    """Changes only with a decision, never with mere evidence: equal healths are not published again."""

    target: Target
    state: State
    reason: str
    since: datetime
    receives_traffic: bool
    weight: int = EVEN
    """Only of servers: the share of calls where servers are weighed."""
    weight_reason: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state. (target, time) is its identity."""

    target: str
    before: State
    after: State
    reason: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Remembered:
    """What a monitor that starts again must know: else it would send traffic to a server that does not answer."""

    target: Target
    state: State
    reason: str
    since: datetime
    settled: bool
    weight: int = EVEN
    weight_reason: str = ""

    def belief(self) -> Belief:
        return Belief(self.state, self.reason, self.since, probed=self.state, settled=self.settled)


def remember(target: Target, belief: Belief, weight: Weight) -> Remembered:
    told = weight.told, weight.reason
    return Remembered(target, belief.state, belief.reason, belief.since, belief.settled, *told)


def health_of(target: Target, belief: Belief, peers: Collection[Belief], weight: Weight) -> Health:
    """`peers` are the beliefs of the same model version on other servers."""
    receives = _receives_traffic(target, belief, peers)
    return Health(target, belief.state, belief.reason, belief.since, receives, weight.told, weight.reason)


def _receives_traffic(target: Target, belief: Belief, peers: Collection[Belief]) -> bool:
    if belief.state is State.HEALTHY or not belief.settled:
        return True
    only_calls_fail = target.kind is Kind.MODEL_VERSION and belief.probed is State.HEALTHY
    # where every server fails alike it is the model or its callers' input: one caller must not take it from all
    return only_calls_fail and not any(peer.state is State.HEALTHY for peer in peers)
