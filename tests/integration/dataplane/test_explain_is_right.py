"""ExplainRoute against a real Envoy: random fallbacks, mirrors, experiments, illness, budgets, units and pins."""

from __future__ import annotations

import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from deploy.envoy.record import Record
from libs.errors import NotFound
from services.routing.domain.compiled import Chain, Policy
from services.routing.domain.explain import Explanation, Why, explain
from services.routing.domain.policy import (
    Allocation,
    Deployment,
    Exhausted,
    LoadBalancing,
    Mirror,
    ModelVersion,
    Range,
    Retries,
    Route,
    Unhealthy,
)
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane

LOADED = models.VERSIONS
"""Version 3 fails each call."""
FAILS, UNKNOWN = "3", "9"
VERSIONS = ("1", "2", FAILS, "4", "5")
TENANT = "local"

versions = st.sampled_from(("1", "2", *VERSIONS, UNKNOWN))
units = st.text(string.ascii_letters + string.digits + "-_.,:;/\\%$ ", min_size=1, max_size=24)
calls = st.tuples(units | st.just(""), st.just("") | st.just("") | versions)


@st.composite
def deployments(draw: st.DrawFn) -> tuple[Deployment, ...]:
    """Versions on servers that have them, or ready on none."""
    places = {v: [server for server, loaded in LOADED.items() if v in loaded] for v in VERSIONS}
    drawn = {v: draw(st.sampled_from(subsets(places[v]))) for v in VERSIONS}
    return tuple(Deployment("m", v, on) for v, on in drawn.items() if on is not None)


def subsets(places: list[str]) -> list[tuple[str, ...] | None]:
    """Everywhere more often than somewhere, and that more often than nowhere; None: not deployed at all."""
    return [tuple(places)] * 4 + [(place,) for place in places] + [(), None]


@st.composite
def experiments(draw: st.DrawFn) -> tuple[Allocation, ...]:
    """Up to three on one model; of those that overlap, or have another salt, some cannot stand."""
    salt = draw(st.text("ab\\1", max_size=3))
    found = []
    for n in range(draw(st.integers(0, 3))):
        cuts = sorted(draw(st.sets(st.integers(0, 10_000), min_size=2, max_size=6)))
        ranges = tuple(
            Range(start, end, f"variant {n}.{start}", draw(versions))
            for start, end in zip(cuts[::2], cuts[1::2], strict=False)
        )
        found.append(Allocation(f"e{n}", "m", draw(st.sampled_from((salt, salt, salt, "another"))), ranges))
    return tuple(found)


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    servers, several = st.sampled_from(tuple(LOADED)), st.lists(versions, max_size=3, unique=True)
    sick = st.builds(Unhealthy, servers, st.just("whole"))
    sick_version = st.builds(Unhealthy, servers, st.just("wrong"), st.just("m"), st.sampled_from(VERSIONS))
    route = Route(
        "m",
        draw(versions),
        tuple(ModelVersion("m", version) for version in draw(several)),
        draw(st.sampled_from(LoadBalancing)),
        retries=Retries(draw(st.integers(0, 4))),
        mirror=draw(st.none() | st.builds(Mirror, versions, st.sampled_from((1, 5_000, 10_000)))),
    )
    spent = st.builds(Exhausted, st.sampled_from((TENANT, "another")), st.sampled_from(("", "m", "n")))
    return {
        "routes": (route,),
        "deployments": draw(deployments()),
        "allocations": draw(experiments()),
        "unhealthy": tuple(
            draw(st.lists(sick | sick_version, max_size=3, unique_by=lambda u: (u.server, u.model, u.version)))
        ),
        "exhausted": tuple(draw(st.lists(spent, max_size=2, unique=True))) if draw(st.integers(0, 2)) == 0 else (),
    }


@dataclass(frozen=True)
class Outcome:
    """What a caller is told. `attempts` are those that reached a server."""

    code: str
    version: str = ""
    degraded: str = ""
    variant: str = ""
    experiment: str = ""
    attempts: int = 0


@settings(max_examples=40, deadline=None)
@given(world=worlds(), asked=st.lists(calls, min_size=8, max_size=20))
def test_explain_says_what_envoy_does(shared_plane: DataPlane, world: dict[str, Any], asked: list[tuple[str, str]]):
    policy = shared_plane.apply(shared_plane.inputs(**world)).policy
    answers = {}
    with shared_plane.channel() as channel:
        for unit, pin in asked:
            key = [("x-penstock-routing-key", unit)] if unit else []
            answer = models.call(channel, models.request(version=pin), metadata=key)
            answers[answer.headers["x-request-id"]] = unit, pin, answer
    records = shared_plane.records_of(answers)
    for request_id, (unit, pin, answer) in answers.items():
        possible = expected(policy, unit, pin)
        found = seen(answer, records[request_id])
        event(found.code)
        assert found in possible, (unit, pin, answer)
        if found.code == "OK":
            assert records[request_id].upstream in may_answer(policy, unit, pin, found), (unit, pin)


def seen(answer: models.Answer, record: Record) -> Outcome:
    if answer.code != "OK":
        return Outcome(answer.code, attempts=record.attempts if record.reached_triton else 0)
    told = {name: answer.headers.get(f"x-penstock-{name}", "") for name in ("degraded", "variant", "experiment")}
    assert answer.headers["x-penstock-model-version"] == answer.version == record.version
    return Outcome("OK", answer.version, attempts=record.attempts, **told)


def expected(policy: Policy, unit: str, pin: str) -> set[Outcome]:
    """One, or where chance decides one for each share."""
    try:
        told = explain(policy, "m", unit, pin, TENANT)
    except NotFound:
        return {Outcome("NOT_FOUND")}
    if told.why is Why.BUDGET_SPENT:
        return {Outcome("RESOURCE_EXHAUSTED")}
    return {outcome(*each) for each in drawn(policy, told)}


def drawn(policy: Policy, told: Explanation) -> Iterable[tuple[Chain, str, str]]:
    """Chains that a call may take, with the experiment and variant that its answer counts for."""
    if told.chain is None:
        return [(s.chain, *s.outcome[:2]) for s in policy.models["m"].slices]
    if told.why is Why.VARIANT_NOT_DEPLOYED:
        return [(told.chain, "", "")]
    return [(told.chain, told.experiment, told.variant)]


def outcome(chain: Chain, experiment: str, variant: str) -> Outcome:
    if not chain.attempts:
        return Outcome("UNAVAILABLE")
    for number, attempt in enumerate(chain.attempts, 1):
        if attempt.target.version != FAILS:
            degraded = "" if attempt.target == chain.wanted else "fallback-model"
            return Outcome("OK", attempt.target.version, degraded, variant, experiment, number)
    return Outcome("INTERNAL", attempts=len(chain.attempts))


def may_answer(policy: Policy, unit: str, pin: str, found: Outcome) -> set[str]:
    """Servers of the set of the attempt that was answered; of a first attempt those that the explanation says."""
    told = explain(policy, "m", unit, pin, TENANT)
    chains = [chain for chain, *_ in drawn(policy, told) if outcome(chain, found.experiment, found.variant) == found]
    hosts = set()
    for chain in chains:
        members = policy.server_sets[chain.attempts[found.attempts - 1].servers].endpoints
        hosts |= {member.host for member in members if member.included}
    if told.chain is not None and found.attempts == 1:
        assert hosts == {endpoint.host for endpoint in told.endpoints if endpoint.included}
    return hosts
