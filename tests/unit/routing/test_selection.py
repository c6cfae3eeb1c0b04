"""SelectEndpoint's rule: the version that Envoy would serve, on a server that is well, always the same for a unit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import PenstockError, Unavailable
from services.routing.domain.compiler import compile_policy
from services.routing.domain.explain import endpoints_of, explain
from services.routing.domain.policy import Deployment, Inputs, LoadBalancing, ModelVersion, Route, Server, Unhealthy
from services.routing.domain.policy import Exhausted as Spent
from services.routing.domain.selection import How, select
from tests.unit.routing.policies import MODELS, VERSIONS, inputs

SERVERS = tuple(Server(name, f"10.0.0.{n}", 8001) for n, name in enumerate("abc"))
RING = Inputs(
    servers=SERVERS,
    deployments=(Deployment("m", "1", ("a", "b", "c")), Deployment("m", "2", ("a",))),
    routes=(Route("m", "1", (ModelVersion("m", "2"),), LoadBalancing.RING_HASH),),
)
UNITS = [f"unit {n}" for n in range(60)]


def chosen(given_inputs, unit="u", **asked):
    return select(compile_policy(given_inputs), "m", unit, draw=lambda: 7, **asked)


def refusal_of(ask):
    """What it answers, or the reason why it does not."""
    try:
        return ask(), ""
    except PenstockError as refusal:
        return None, refusal.reason


@given(
    inputs(), st.sampled_from(MODELS), st.text(max_size=5), st.sampled_from(("", *VERSIONS)), st.integers(0, 2**64 - 1)
)
def test_it_goes_where_explain_says_or_says_why_not(given_inputs, model, unit, pinned, drawn):
    policy = compile_policy(given_inputs)
    asked = policy, model, unit, pinned, "t"
    told, unknown = refusal_of(lambda: explain(*asked))
    found, refusal = refusal_of(lambda: select(*asked, draw=lambda: drawn))
    if refusal:
        chains = [told.chain] if told and told.chain else [s.chain for s in policy.models[model].slices] if told else []
        nobody = any(all(not e.included or e.reason for e in endpoints_of(policy, chain)) for chain in chains)
        spent = told is not None and "t" in policy.models[model].exhausted_tenants
        assert refusal == (unknown or ("BUDGET_SPENT" if spent else "NO_HEALTHY_ENDPOINTS" if nobody else ""))
        return
    assert found.told == told
    assert found.chain == told.chain or (told.chain is None and not unit)
    well = {e.server for e in endpoints_of(policy, found.chain) if e.included and not e.reason}
    assert {found.endpoint.server, *(e.server for e in found.others)} == well
    assert (found.how is How.DRAWN) == (not unit)
    assert not found.instead_of or found.instead_of.server not in well
    assert (found.experiment, found.variant, found.chain.wanted.version) in {
        (s.experiment, s.variant, s.version) for s in told.shares
    } | {("", "", pinned)}


def test_a_unit_keeps_its_server_and_goes_to_the_next_one_while_it_is_out():
    first = {unit: chosen(RING, unit) for unit in UNITS}
    assert {each.endpoint.server for each in first.values()} == {"a", "b", "c"}
    assert {each.how for each in first.values()} == {How.RING}
    for sick in (Unhealthy("b", "refuses"), Unhealthy("b", "wrong", "m", "1")):
        for unit, before in first.items():
            after = chosen(replace(RING, unhealthy=(sick,)), unit)
            if before.endpoint.server == "b":
                assert (after.instead_of.server, after.instead_of.reason) == ("b", sick.reason)
                assert after.endpoint.server in ("a", "c")
            else:
                assert after.instead_of is None


def test_a_version_that_is_well_nowhere_leaves_the_call_to_its_fallback():
    sick = tuple(Unhealthy(server, "wrong", "m", "1") for server in "abc")
    found = chosen(replace(RING, unhealthy=sick))
    assert (found.target, found.degraded, found.endpoint.server) == (ModelVersion("m", "2"), True, "a")


def test_nobody_left_is_an_error_that_says_who_is_out_and_why():
    sick = tuple(Unhealthy(server, f"{server} refuses") for server in "abc")
    with pytest.raises(Unavailable) as raised:
        chosen(replace(RING, unhealthy=sick))
    assert raised.value.reason == "NO_HEALTHY_ENDPOINTS"
    assert raised.value.message == ("no healthy server for version 1 of m: a: a refuses; b: b refuses; c: c refuses")
    with pytest.raises(Unavailable) as raised:
        chosen(replace(RING, deployments=(Deployment("m", "1", ()),)))
    assert "version 1 of m is ready on no server; version 2 of m is not deployed" in raised.value.message


def test_a_spent_budget_is_refused_before_anything_else():
    spent = replace(RING, exhausted=(Spent("acme"),))
    with pytest.raises(PenstockError) as raised:
        chosen(spent, pinned="9", tenant="acme")
    assert raised.value.reason == "BUDGET_SPENT"
    assert chosen(spent, tenant="other").endpoint


def test_it_says_where_envoy_may_choose_otherwise():
    turns = replace(RING, routes=(Route("m", "1", load_balancing=LoadBalancing.ROUND_ROBIN),))
    named = replace(RING, servers=(*SERVERS[:2], Server("c", "triton-c.internal", 8001)))
    assert [chosen(given).how for given in (RING, turns, named)] == [How.RING, *[How.CONSISTENT_HASH] * 2]
    assert chosen(RING, "").how is How.DRAWN
    for unit in UNITS:
        assert chosen(turns, unit).endpoint.server == chosen(RING, unit).endpoint.server
