"""All targets together: who is watched, who gets traffic, what is told and what is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest

from libs.errors import NotFound
from services.health_monitoring.domain.belief import Outcome, Probe, State, Thresholds
from services.health_monitoring.domain.calls import Attempt, CallRules
from services.health_monitoring.domain.health import Health, Remembered, Transition
from services.health_monitoring.domain.journal import Journal
from services.health_monitoring.domain.monitor import Monitor
from services.health_monitoring.domain.roster import Fleet, Roster
from services.health_monitoring.domain.target import (
    Placement,
    Target,
    inference_targets,
    model_version,
    server,
    service,
)
from services.health_monitoring.domain.weighing import WeighingRules

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
A, B = server("a", "10.0.0.1:8001"), server("b", "10.0.0.2:8001")
M_A = model_version("m", "1", "a", A.address)
M_B = model_version("m", "1", "b", B.address)
ROUTING = service("routing", "10.0.0.9:50051")


class Told:
    """A monitor, and how often it said that something had changed."""

    def __init__(self) -> None:
        self.times = 0
        self.journal = Journal()
        self.monitor = Monitor(Thresholds(), CallRules(), self.journal, self._count, WeighingRules())

    def _count(self) -> None:
        self.times += 1

    def watch(self, *targets: Target, everyone: bool = True, aliases: dict[str, str] | None = None) -> None:
        self.monitor.watch(targets, aliases or {}, NOW, everyone=everyone)

    def probe(self, target: Target, *outcomes: Outcome) -> None:
        for outcome in outcomes:
            self.monitor.probed(target, Probe(NOW, outcome, outcome.value, 0.001))

    def calls(self, target: Target, count: int, *, errors: int = 0, second: int = 0) -> None:
        for n in range(count):
            attempt = Attempt(target.model, target.version, target.address, 14, n < errors, reached=True, seconds=0.01)
            self.monitor.called(attempt, second)
        self.monitor.judge_calls(NOW, second)

    def answers(self, target: Target, count: int, seconds: float, second: int = 0) -> None:
        for _ in range(count):
            attempt = Attempt(target.model, target.version, target.address, 0, False, reached=True, seconds=seconds)
            self.monitor.called(attempt, second)

    def weights(self) -> dict[str, int]:
        return {health.target.name: health.weight for health in self.monitor.healths() if health.target in (A, B)}

    def healths(self) -> dict[str, Health]:
        return {health.target.identity: health for health in self.monitor.healths()}

    def out(self) -> set[str]:
        return {identity for identity, health in self.healths().items() if not health.receives_traffic}


@pytest.fixture
def told() -> Told:
    return Told()


def test_identities() -> None:
    assert [t.identity for t in (A, M_A, ROUTING)] == ["server/a", "model/m/1@a", "service/routing"]


def placement(version: str, *, ready: bool = False, leaving: bool = False) -> Placement:
    return Placement("m", version, "a", A.address, ready=ready, leaving=leaving)


@pytest.mark.parametrize(
    ("ready", "leaving", "known", "watched"),
    [(True, False, False, True), (False, False, False, False), (False, False, True, True), (True, True, True, False)],
)
def test_a_version_is_watched_from_ready_until_it_is_taken_off(
    ready: bool, leaving: bool, known: bool, watched: bool
) -> None:
    found = inference_targets(
        [], [placement("1", ready=ready, leaving=leaving)], {M_A.identity} if known else set[str]()
    )
    assert (M_A in found) is watched
    assert A in found


def test_nobody_is_informed_before_everyone_was_probed_once(told: Told) -> None:
    told.watch(ROUTING, everyone=False)
    told.probe(ROUTING, Outcome.PASSED)
    assert not told.monitor.informed
    told.watch(ROUTING, A, B)
    told.probe(A, Outcome.PASSED)
    assert not told.monitor.informed
    told.probe(B, Outcome.UNANSWERED)
    assert told.monitor.informed
    told.watch(ROUTING, A, B, M_A)
    assert told.monitor.informed


def test_a_target_without_evidence_keeps_its_traffic_one_that_is_silent_loses_it(told: Told) -> None:
    told.watch(A, B)
    told.probe(A, Outcome.UNANSWERED)
    assert told.out() == set()
    told.probe(A, Outcome.UNANSWERED)
    assert told.healths()["server/a"].state is State.UNKNOWN
    assert told.out() == {"server/a"}


def test_evidence_alone_is_not_worth_telling(told: Told) -> None:
    told.watch(A)
    told.probe(A, Outcome.PASSED)
    times = told.times
    told.probe(A, Outcome.PASSED, Outcome.PASSED, Outcome.FAILED, Outcome.PASSED)
    assert told.times == times
    told.probe(A, Outcome.FAILED, Outcome.FAILED)
    assert told.times == times + 1


def test_failing_calls_move_traffic_to_a_server_that_does_better(told: Told) -> None:
    told.watch(M_A, M_B)
    told.probe(M_A, Outcome.PASSED)
    told.probe(M_B, Outcome.PASSED)
    told.calls(M_A, 50, errors=40)
    told.calls(M_B, 50, errors=1)
    assert told.out() == {M_A.identity}
    assert told.healths()[M_A.identity].reason == "probes pass, but 40 of 50 calls in 30 s failed"


def test_where_every_server_fails_alike_nobody_loses_its_traffic(told: Told) -> None:
    told.watch(M_A, M_B)
    for target in (M_A, M_B):
        told.probe(target, Outcome.PASSED)
        told.calls(target, 50, errors=40)
    assert {health.state for health in told.healths().values()} == {State.UNHEALTHY}
    assert told.out() == set()


def test_the_last_server_that_answers_probes_keeps_its_traffic(told: Told) -> None:
    told.watch(M_A, M_B)
    told.probe(M_A, Outcome.PASSED)
    told.probe(M_B, Outcome.PASSED, Outcome.FAILED, Outcome.FAILED)
    told.calls(M_A, 50, errors=50)
    assert told.out() == {M_B.identity}


def test_without_traffic_a_condemned_target_comes_back(told: Told) -> None:
    told.watch(M_A, M_B)
    told.probe(M_A, Outcome.PASSED)
    told.probe(M_B, Outcome.PASSED)
    told.calls(M_A, 50, errors=50, second=100)
    assert told.out() == {M_A.identity}
    told.monitor.judge_calls(NOW, 129)
    assert told.out() == {M_A.identity}
    told.monitor.judge_calls(NOW, 130)
    assert told.out() == set()


def test_a_server_that_returns_is_not_held_to_the_calls_that_it_dropped(told: Told) -> None:
    told.watch(M_A, M_B)
    told.probe(M_A, Outcome.PASSED)
    told.probe(M_B, Outcome.PASSED)
    told.calls(M_A, 50, errors=50)
    told.probe(M_A, Outcome.FAILED, Outcome.FAILED, Outcome.PASSED, Outcome.PASSED)
    told.monitor.judge_calls(NOW, 1)
    assert told.out() == set()


def test_attempts_that_never_reached_a_server_are_left_to_probes(told: Told) -> None:
    told.watch(M_A, M_B)
    told.probe(M_A, Outcome.PASSED)
    for _ in range(100):
        assert told.monitor.called(Attempt("m", "1", A.address, 14, blamed=True, reached=False, seconds=0.0), 0)
    told.monitor.judge_calls(NOW, 0)
    assert told.monitor.explain(M_A.identity, 0).calls is None


def test_calls_are_found_by_the_address_that_envoy_logs(told: Told) -> None:
    by_name = model_version("m", "1", "c", "triton-c:8001")
    told.watch(by_name, aliases={"10.0.0.3:8001": "triton-c:8001"})
    attempt = Attempt("m", "1", "10.0.0.3:8001", 0, blamed=False, reached=True, seconds=0.02)
    assert told.monitor.called(attempt, 0)
    statistics = told.monitor.explain(by_name.identity, 0).calls
    assert statistics is not None
    assert statistics.calls == 1


@pytest.mark.parametrize("stranger", [("x", "1", A.address), ("m", "9", A.address), ("m", "1", "10.9.9.9:1")])
def test_calls_of_nobody_that_is_watched_are_not_kept(told: Told, stranger: tuple[str, str, str]) -> None:
    told.watch(A, M_A)
    assert not told.monitor.called(Attempt(*stranger, 0, blamed=False, reached=True, seconds=0.02), 0)


def test_a_servers_statistics_are_those_of_all_its_versions(told: Told) -> None:
    other = model_version("m", "2", "a", A.address)
    told.watch(A, B, M_A, other, M_B)
    told.calls(M_A, 3)
    told.calls(other, 4)
    told.calls(M_B, 5)
    statistics = told.monitor.explain("server/a", 0).calls
    assert statistics is not None
    assert statistics.calls == 7


def test_an_explanation_has_all_the_evidence(told: Told) -> None:
    told.watch(A)
    told.probe(A, Outcome.PASSED, Outcome.FAILED, Outcome.FAILED)
    explained = told.monitor.explain("server/a", 0)
    assert explained.probe is not None
    assert (explained.probe.outcome, explained.consecutive) == (Outcome.FAILED, 2)
    assert [(t.before, t.after) for t in explained.transitions] == [
        (State.HEALTHY, State.UNHEALTHY),
        (State.UNKNOWN, State.HEALTHY),
    ]


def test_a_stranger_cannot_be_explained(told: Told) -> None:
    with pytest.raises(NotFound) as raised:
        told.monitor.explain("server/z", 0)
    assert raised.value.reason == "TARGET_NOT_FOUND"


def test_a_target_that_moves_keeps_its_state_and_late_probes_of_its_old_place_are_ignored(told: Told) -> None:
    told.watch(A)
    told.probe(A, Outcome.PASSED)
    moved = server("a", "10.0.0.7:8001")
    told.watch(moved)
    told.probe(A, Outcome.FAILED, Outcome.FAILED)
    assert told.healths()["server/a"].state is State.HEALTHY


def test_a_target_that_is_gone_is_forgotten(told: Told) -> None:
    told.watch(A, B)
    told.probe(A, Outcome.PASSED)
    told.watch(B)
    assert set(told.healths()) == {"server/b"}
    assert told.monitor.remembered("server/a") is None
    told.watch(A, B)
    assert told.healths()["server/a"].state is State.UNKNOWN


class Memory:
    def __init__(self, *remembered: Remembered, transitions: Iterable[Transition] = ()) -> None:
        self._remembered = list(remembered)
        self._transitions = list(transitions)

    async def remembered(self) -> list[Remembered]:
        return self._remembered

    async def recent(self, of_each: int) -> list[Transition]:
        return self._transitions[-of_each:]


async def test_a_restart_keeps_a_silent_server_out(told: Told) -> None:
    """Else traffic would go back to it until two probes have timed out again."""
    probed: list[Target] = []
    roster = Roster([ROUTING], told.monitor, probed.extend, lambda: NOW)
    since = NOW - timedelta(hours=1)
    change = Transition("server/a", State.HEALTHY, State.UNKNOWN, "silent", since)
    await roster.restore(
        Memory(
            Remembered(A, State.UNKNOWN, "silent", since, settled=True),
            Remembered(M_B, State.HEALTHY, "fine", since, settled=True),
            Remembered(ROUTING, State.HEALTHY, "fine", since, settled=True),
            transitions=[change],
        )
    )
    assert set(probed) == {ROUTING, A, M_B}
    assert told.out() == {"server/a"}
    assert told.healths()["server/a"].since == since
    assert told.monitor.explain("server/a", 0).transitions == (change,)
    assert not told.monitor.informed
    for target in (ROUTING, A, M_B):
        told.probe(target, Outcome.UNANSWERED)
    assert told.monitor.informed
    assert told.out() == {"server/a"}


async def test_a_version_that_was_watched_before_the_restart_is_watched_on_while_it_loads_again(told: Told) -> None:
    roster = Roster([], told.monitor, lambda _: None, lambda: NOW)
    await roster.restore(Memory(Remembered(M_A, State.HEALTHY, "fine", NOW, settled=True)))
    roster.fleet(Fleet([A], [placement("1", ready=False), placement("2", ready=False)]))
    assert set(told.healths()) == {"server/a", M_A.identity}


def test_a_slower_server_is_told_a_smaller_weight_step_by_step(told: Told) -> None:
    told.watch(A, B, M_A, M_B)
    told.answers(M_A, 30, 0.2)
    told.answers(M_B, 30, 0.01)
    before = told.times
    told.monitor.weigh(0)
    assert (told.weights(), told.times) == ({"a": 80, "b": 125}, before + 2)
    for _ in range(30):
        told.monitor.weigh(0)
    assert told.weights()["a"] < 36
    assert told.weights()["b"] > 280
    assert told.healths()["server/a"].weight_reason == "p99 is 4.5 times the mean of the servers, by 30 calls"
    assert told.healths()[M_A.identity].weight == 100
    rested = told.times
    told.monitor.weigh(0)
    assert told.times == rested
    for _ in range(100):
        told.monitor.weigh(100)  # the calls are out of the window
    assert all(abs(weight - 100) <= 12 for weight in told.weights().values())


async def test_weights_outlive_a_restart(told: Told) -> None:
    told.watch(A, B, M_A, M_B)
    told.answers(M_A, 30, 0.2)
    told.answers(M_B, 30, 0.01)
    told.monitor.weigh(0)
    remembered = told.monitor.remembered("server/a")
    assert remembered is not None
    assert (remembered.weight, remembered.weight_reason) == (80, told.healths()["server/a"].weight_reason)
    after = Told()
    await Roster([], after.monitor, lambda _: None, lambda: NOW).restore(Memory(remembered))
    assert after.weights() == {"a": 80}
    after.monitor.weigh(0)
    assert after.weights() == {"a": 80}  # 81 by now: not yet worth telling
