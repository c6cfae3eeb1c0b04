"""All targets with what is believed of them."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from libs.errors import NotFound
from services.health_monitoring.domain.belief import Belief, Probe, State, Thresholds, after_calls, after_probe, nothing
from services.health_monitoring.domain.calls import Attempt, CallRules, Statistics
from services.health_monitoring.domain.health import Health, Remembered, Transition, health_of, remember
from services.health_monitoring.domain.journal import Journal
from services.health_monitoring.domain.target import Kind, Target
from services.health_monitoring.domain.traffic import Traffic
from services.health_monitoring.domain.weighing import STEP_SECONDS, WeighingRules, Weight, paces, step

RECENT = 20


class Clock(Protocol):
    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Explanation:
    """A health with its evidence. Transitions newest first."""

    health: Health
    probe: Probe | None
    consecutive: int
    calls: Statistics | None
    transitions: tuple[Transition, ...]


class Monitor:
    """Holds all targets. Times are given by the callers; seconds are whole numbers of a clock that never goes back."""

    def __init__(
        self,
        thresholds: Thresholds,
        rules: CallRules,
        journal: Journal,
        changed: Callable[[], None],
        weighing: WeighingRules,
    ) -> None:
        """`changed` is called after each step that may have changed `healths()`."""
        self._thresholds = thresholds
        self._traffic = Traffic(rules)
        self._journal = journal
        self._changed = changed
        self._weighing = weighing
        self._weights: dict[str, Weight] = {}
        self._targets: dict[str, Target] = {}
        self._beliefs: dict[str, Belief] = {}
        self._recent: defaultdict[str, deque[Transition]] = defaultdict(lambda: deque(maxlen=RECENT))
        self._everyone_known = False
        self._first_round_done = False

    def restore(self, remembered: Iterable[Remembered], transitions: Iterable[Transition]) -> None:
        """Go on where an earlier process ended; before any target is watched. Transitions oldest first."""
        for each in remembered:
            self._beliefs[each.target.identity] = each.belief()
            self._weights[each.target.identity] = Weight.remembered(each.weight, each.weight_reason)
        for transition in transitions:
            self._recent[transition.target].append(transition)

    def watch(self, targets: Iterable[Target], aliases: Mapping[str, str], now: datetime, *, everyone: bool) -> None:
        """From now on exactly these. `everyone` says that the owner of servers and deployments has named them.

        `aliases` maps an address as Envoy logs it to a target's own.
        """
        self._targets = {target.identity: target for target in targets}
        self._everyone_known = self._everyone_known or everyone
        self._traffic.watch(self._targets.values(), aliases)
        for identity in self._beliefs.keys() - self._targets.keys():
            del self._beliefs[identity]
            self._weights.pop(identity, None)
            self._recent.pop(identity, None)
            self._journal.note(identity)
        for identity in self._targets.keys() - self._beliefs.keys():
            self._beliefs[identity] = nothing(now)
        self._changed()

    def probed(self, target: Target, probe: Probe) -> Belief | None:
        """Take a probe into account; None when the target is watched no more, or elsewhere."""
        if self._targets.get(target.identity) != target:
            return None
        before = self._beliefs[target.identity]
        belief = after_probe(before, probe, self._thresholds)
        if belief.probed is State.HEALTHY and before.probed is not State.HEALTHY:
            self._traffic.forget(target)
        self._believe(target.identity, belief)
        return belief

    def called(self, attempt: Attempt, second: int) -> bool:
        """Count an attempt; says whether it belongs to a target."""
        return self._traffic.count(attempt, second)

    async def judge_calls_every_second(
        self, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        """For ever."""
        while True:
            await sleep(1)
            self.judge_calls(clock.now(), int(clock.monotonic()))

    def judge_calls(self, now: datetime, second: int) -> None:
        """Take into account what the window says now."""
        for identity, target in self._targets.items():
            belief = self._beliefs[identity]
            failing = self._traffic.failing(target, second, already=bool(belief.failing))
            if failing or belief.failing:
                self._believe(identity, after_calls(belief, failing, now))

    async def weigh_every_step(self, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """For ever."""
        while True:
            await sleep(STEP_SECONDS)
            self.weigh(int(clock.monotonic()))

    def weigh(self, second: int) -> None:
        """One step of every server's weight."""
        found = paces(self._traffic.measured(second, self._weighing.least_calls), self._weighing)
        for identity, target in self._targets.items():
            if target.kind is Kind.SERVER:
                before = self._weight(identity)
                self._weights[identity] = now = step(before, found.get(target.name), self._weighing)
                if now.told != before.told:
                    self._journal.note(identity)
                    self._changed()

    @property
    def informed(self) -> bool:
        """Whether every target is known and has been probed, once: before that nobody may be told anything."""
        if not self._first_round_done and self._everyone_known:
            self._first_round_done = all(belief.probe is not None for belief in self._beliefs.values())
        return self._first_round_done

    def targets(self) -> tuple[Target, ...]:
        return tuple(self._targets.values())

    def healths(self) -> list[Health]:
        """Of every target, by identity."""
        peers: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        for identity, target in self._targets.items():
            if target.kind is Kind.MODEL_VERSION:
                peers[target.model, target.version].add(identity)
        return [self._health(identity, peers) for identity in sorted(self._targets)]

    def explain(self, identity: str, second: int) -> Explanation:
        """Raises TARGET_NOT_FOUND."""
        health = next((each for each in self.healths() if each.target.identity == identity), None)
        if health is None:
            raise NotFound("TARGET_NOT_FOUND", f"no target {identity!r} is watched", target=identity)
        belief = self._beliefs[identity]
        calls = self._traffic.statistics(health.target, second)
        return Explanation(health, belief.probe, belief.consecutive, calls, tuple(reversed(self._recent[identity])))

    def remembered(self, identity: str) -> Remembered | None:
        """None when the target is watched no more."""
        target = self._targets.get(identity)
        return remember(target, self._beliefs[identity], self._weight(identity)) if target else None

    def _weight(self, identity: str) -> Weight:
        return self._weights.get(identity) or Weight()

    def _health(self, identity: str, peers: Mapping[tuple[str, str], set[str]]) -> Health:
        target = self._targets[identity]
        others = peers.get((target.model, target.version), set()) - {identity}
        peers_beliefs = [self._beliefs[other] for other in others]
        return health_of(target, self._beliefs[identity], peers_beliefs, self._weight(identity))

    def _believe(self, identity: str, belief: Belief) -> None:
        before, self._beliefs[identity] = self._beliefs[identity], belief
        if belief.state is not before.state:
            transition = Transition(identity, before.state, belief.state, belief.reason, belief.since)
            self._recent[identity].append(transition)
            self._journal.note(identity, transition)
        elif belief.settled != before.settled:
            self._journal.note(identity)
        decided = (belief.state, belief.settled, belief.probed) != (before.state, before.settled, before.probed)
        if decided or before.probe is None:
            self._changed()
