"""What is believed of one target: a state machine that probes and calls drive.

Probes decide between all three states; failing calls only turn HEALTHY into UNHEALTHY, so that a target which gets no
calls, hence shows no failing ones any more, goes back to what its probes say.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class State(StrEnum):
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    UNKNOWN = "UNKNOWN"


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    """Refused, or answered with a failure: it is there and not well, or it is not there."""
    UNANSWERED = "unanswered"
    """Nothing came within the limit: nobody knows."""


@dataclass(frozen=True, slots=True)
class Probe:
    time: datetime
    outcome: Outcome
    message: str
    latency: float
    """Seconds."""

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASSED


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probes in a row that it takes to leave the good side, and to come back to it."""

    fall: int = 2
    rise: int = 2


@dataclass(frozen=True, slots=True)
class Belief:
    """Start with `nothing(now)`."""

    state: State
    reason: str
    since: datetime
    """When `state` was entered."""
    probed: State
    """What probes alone say."""
    settled: bool
    """Whether probes have ever decided: until then UNKNOWN means "no evidence", afterwards "does not answer"."""
    failing: str = ""
    """What calls say, in words; empty unless they fail."""
    probe: Probe | None = None
    consecutive: int = 0
    """Probes in a row that passed, or that did not, as the newest."""

    @property
    def in_doubt(self) -> bool:
        """Whether the newest probe contradicts what is believed: the next one should come soon."""
        return self.probe is None or not self.settled or self.probe.passed != (self.probed is State.HEALTHY)


def nothing(now: datetime) -> Belief:
    return Belief(State.UNKNOWN, "not probed yet", now, probed=State.UNKNOWN, settled=False)


def after_probe(belief: Belief, probe: Probe, thresholds: Thresholds) -> Belief:
    """The belief with one more probe. The first pass of a target that is not settled is enough: it may be new."""
    same = belief.probe is not None and belief.probe.passed == probe.passed
    consecutive = belief.consecutive + 1 if same else 1
    probed, settled = belief.probed, belief.settled
    if probe.passed:
        if not settled or consecutive >= thresholds.rise:
            probed, settled = State.HEALTHY, True
    elif consecutive >= thresholds.fall or (settled and probed is not State.HEALTHY):
        probed, settled = State.UNHEALTHY if probe.outcome is Outcome.FAILED else State.UNKNOWN, True
    back = probed is State.HEALTHY and belief.probed is not State.HEALTHY
    told = replace(
        belief,
        probed=probed,
        settled=settled,
        # what calls said of it before it went away says nothing of what came back
        failing="" if back else belief.failing,
        probe=probe,
        consecutive=consecutive,
    )
    return _concluded(belief, told, probe.time)


def after_calls(belief: Belief, failing: str, now: datetime) -> Belief:
    """The belief with what calls say now: in words how they fail, or empty."""
    return _concluded(belief, replace(belief, failing=failing), now)


def _concluded(before: Belief, told: Belief, now: datetime) -> Belief:
    state, reason = _conclusion(told)
    if state is not before.state:
        return replace(told, state=state, reason=reason, since=max(now, before.since))
    # the words of the moment of decision stay: evidence changes with each probe, what is published must not
    return told if told.settled == before.settled else replace(told, reason=reason)


def _conclusion(belief: Belief) -> tuple[State, str]:
    if belief.failing and belief.probed is State.HEALTHY:
        return State.UNHEALTHY, f"probes pass, but {belief.failing}"
    if belief.probed is State.HEALTHY:
        return State.HEALTHY, f"{_count(belief.consecutive)} passed"
    if belief.probe is None or not belief.settled:
        return State.UNKNOWN, belief.reason
    return belief.probed, f"{_count(belief.consecutive)} failed: {belief.probe.message}"


def _count(probes: int) -> str:
    return "a probe" if probes == 1 else f"{probes} probes in a row"
