"""Rules that every policy obeys, whatever it was compiled from."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from libs import assignment
from libs.errors import NotFound
from services.routing.domain.chains import shares
from services.routing.domain.compiler import compile_policy
from services.routing.domain.explain import Why, explain
from services.routing.domain.policy import (
    Allocation,
    Deployment,
    Inputs,
    LoadBalancing,
    ModelVersion,
    Range,
    Route,
    Server,
    ServerWeight,
    Unhealthy,
)
from services.routing.xds.access import FILTER
from services.routing.xds.messages import Cluster, ClusterLoadAssignment, FilterPerRoute, RouteConfiguration
from services.routing.xds.resources import CDS, EDS, RDS, SRDS, compile_snapshot
from tests.unit.routing.policies import inputs

A, B = Server("a", "10.0.0.1", 8001), Server("b", "10.0.0.2", 8001)
BOTH = Inputs(
    servers=(A, B),
    deployments=(Deployment("m", "1", ("a", "b")), Deployment("m", "2", ("a", "b")), Deployment("m", "3", ("b",))),
    routes=(Route("m", "1", (ModelVersion("m", "3"),)),),
)


def versions(chain):
    return "".join(attempt.target.version for attempt in chain.attempts)


@given(inputs(), st.randoms(use_true_random=False))
def test_equal_inputs_give_byte_identical_resources_in_whatever_order(given_inputs: Inputs, chance: random.Random):
    def shuffled(values):
        return tuple(chance.sample(values, len(values)))

    other = Inputs(
        shuffled(given_inputs.servers),
        tuple(replace(d, servers=shuffled(d.servers)) for d in shuffled(given_inputs.deployments)),
        shuffled(given_inputs.routes),
        tuple(replace(a, ranges=shuffled(a.ranges)) for a in shuffled(given_inputs.allocations)),
        *map(shuffled, (given_inputs.unhealthy, given_inputs.exhausted, given_inputs.keys, given_inputs.limits)),
        weights=shuffled(given_inputs.weights),
    )
    one, two = compile_snapshot(given_inputs), compile_snapshot(other)
    assert one.resources == two.resources
    assert (one.revision, one.policy) == (two.revision, two.policy)


@given(inputs())
def test_slices_cover_every_bucket_once_and_in_order(given_inputs: Inputs):
    for model in compile_policy(given_inputs).models.values():
        edges = [(s.start, s.end) for s in model.slices]
        assert edges[0][0] == 0
        assert edges[-1][1] == assignment.BUCKETS
        assert all(before[1] == after[0] for before, after in itertools.pairwise(edges))
        assert all(start < end for start, end in edges)


@given(inputs(), st.text(min_size=1, max_size=20))
def test_a_unit_gets_what_the_shared_assignment_says(given_inputs: Inputs, unit: str):
    policy = compile_policy(given_inputs)
    for route in given_inputs.routes:
        allocations = [a for a in given_inputs.allocations if a.model == route.model]
        owned = [r for a in allocations for r in a.ranges]
        found = explain(policy, route.model, unit)
        if not owned:
            assert (found.why in (Why.DEFAULT, Why.NO_SERVER), found.bucket) == (True, None)
            continue
        if found.bucket is None:  # a single range over everything: no hash is taken
            assert len(policy.models[route.model].slices) == 1
            continue
        assert found.bucket == assignment.bucket(unit, allocations[0].salt)
        owner = assignment.owner([assignment.Range(r.start, r.end, r.variant, r.version) for r in owned], found.bucket)
        assert found.variant == (owner.variant if owner else "")
        deployed = owner is not None and policy.ready.get(ModelVersion(route.model, owner.version))
        assert found.chain.wanted.version == (owner.version if deployed else route.default_version)


@given(inputs())
def test_attempts_go_only_where_the_version_is_ready_and_to_sick_servers_only_when_there_are_no_others(
    given_inputs: Inputs,
):
    policy = compile_policy(given_inputs)
    sick = {u.server for u in given_inputs.unhealthy if not u.model}
    for model in policy.models.values():
        for chain in (*(s.chain for s in model.slices), *model.pinned):
            for attempt in chain.attempts:
                endpoints = policy.server_sets[attempt.servers].endpoints
                used = {e.server for e in endpoints if e.included}
                assert used
                assert used <= set(policy.ready[attempt.target])
                assert not used & sick or {e.server for e in endpoints} <= sick
            assert not chain.attempts or policy.composites[chain.composite] == tuple(a.servers for a in chain.attempts)


@given(inputs())
def test_a_version_that_is_ready_somewhere_always_has_an_endpoint_and_a_living_one_if_there_is_any(
    given_inputs: Inputs,
):
    policy = compile_policy(given_inputs)
    dead = {u.server for u in given_inputs.unhealthy if not u.model}
    for model in policy.models.values():
        assert [c.wanted for c in model.pinned] == [v for v in policy.ready if v.model == model.model]
        for chain in model.pinned:
            ready = set(policy.ready[chain.wanted])
            assert bool(chain.attempts) == bool(ready)
            for attempt in chain.attempts:
                used = {e.server for e in policy.server_sets[attempt.servers].endpoints if e.included}
                assert used
                assert used <= (ready - dead or ready)


@given(inputs())
def test_every_name_that_a_resource_uses_exists(given_inputs: Inputs):
    snapshot = compile_snapshot(given_inputs)
    policy = snapshot.policy
    assert set(snapshot.resources[EDS]) == set(policy.server_sets)
    assert set(snapshot.resources[CDS]) == {"unserved", *policy.server_sets, *policy.composites}
    assert {s for shape in policy.composites.values() for s in shape} <= set(policy.server_sets)
    assert (
        set(snapshot.resources[RDS])
        == set(snapshot.resources[SRDS])
        == {"default", *map("model/{}".format, policy.models)}
    )


@given(st.integers(0, 12), st.integers(0, 6))
def test_attempts_are_shared_out_and_earlier_versions_never_get_fewer(attempts: int, count: int):
    dealt = shares(attempts, count)
    assert sum(dealt) == (attempts if count else 0)
    assert dealt == sorted(dealt, reverse=True)


def test_a_chain_tries_the_version_then_the_fallbacks():
    policy = compile_policy(BOTH)
    assert versions(policy.models["m"].slices[0].chain) == "111333"
    assert [versions(chain) for chain in policy.models["m"].pinned] == ["111111", "222222", "333333"]


def test_a_variant_falls_back_as_the_route_says():
    allocation = Allocation("e", "m", "s", (Range(0, 5000, "x", "2"),))
    policy = compile_policy(replace(BOTH, allocations=(allocation,)))
    assert [versions(s.chain) for s in policy.models["m"].slices] == ["222333", "111333"]


def said(part):
    """What our filter is told of a route or a part of its traffic, by word."""
    way = FilterPerRoute.FromString(part.typed_per_filter_config[FILTER].value)
    text = StringValue.FromString(way.filter_config.value).value
    return dict(line.split(" ", 1) for line in text.splitlines())


def test_a_variant_whose_version_is_deployed_nowhere_lends_its_buckets_to_the_default():
    ranges = (Range(0, 2000, "x", "2"), Range(2000, 5000, "y", "9"))
    snapshot = compile_snapshot(replace(BOTH, allocations=(Allocation("e", "m", "s", ranges),)))
    policy = snapshot.policy
    model = policy.models["m"]
    assert [versions(s.chain) for s in model.slices] == ["222333", "111333", "111333"]
    assert [s.lent for s in model.slices] == [False, True, False]
    (fault,) = policy.faults
    assert fault.message.startswith("variant y of experiment e: version 9 is ready on no server: ")
    table = RouteConfiguration.FromString(snapshot.resources[RDS]["model/m"].body)
    told = [said(cluster) for cluster in table.virtual_hosts[0].routes[0].route.weighted_clusters.clusters]
    assert [(t["version"], t.get("variant")) for t in told] == [
        ("2", "x"),
        ("1", None),
        ("1", None),
    ]
    unit = next(u for u in map(str, itertools.count()) if 2000 <= assignment.bucket(u, "s") < 5000)
    found = explain(policy, "m", unit)
    assert (found.why, found.experiment, found.variant) == (Why.VARIANT_NOT_DEPLOYED, "e", "y")
    assert [(s.experiment, s.variant, s.version, s.buckets) for s in found.shares] == [
        ("e", "x", "2", 2000),
        ("", "", "1", 8000),
    ]


def test_a_default_that_is_deployed_nowhere_is_a_fault():
    with_fallback = compile_policy(replace(BOTH, routes=(Route("m", "9", (ModelVersion("m", "3"),)),)))
    alone = compile_policy(replace(BOTH, routes=(Route("m", "9"),)))
    assert [f.message for f in (*with_fallback.faults, *alone.faults)] == [
        "default version 9 is ready on no server: its fallbacks answer",
        "default version 9 is ready on no server: its calls are refused as UNAVAILABLE",
    ]


def test_versions_that_nobody_serves_cost_no_attempt():
    policy = compile_policy(replace(BOTH, routes=(Route("m", "9", (ModelVersion("m", "3"),)),)))
    chain = policy.models["m"].slices[0].chain
    assert (chain.wanted.version, versions(chain)) == ("9", "333333")
    assert chain.absent[0].reason == "version 9 of m is not deployed"
    assert explain(policy, "m").endpoints[0].reason == "version 3 is not ready there"


def test_versions_whose_servers_are_all_sick_cost_no_attempt_while_another_is_well():
    sick = replace(BOTH, unhealthy=(Unhealthy("b", "refuses"),), routes=(Route("m", "3", (ModelVersion("m", "1"),)),))
    policy = compile_policy(sick)
    chain = policy.models["m"].slices[0].chain
    assert versions(chain) == "111111"
    assert chain.absent[0].reason == "unhealthy: b: refuses"


def test_when_every_server_is_sick_health_is_overruled():
    policy = compile_policy(replace(BOTH, unhealthy=(Unhealthy("a", "slow"), Unhealthy("b", "slow"))))
    chain = policy.models["m"].slices[0].chain
    assert versions(chain) == "111333"
    assert all(e.included and e.reason == "slow" for e in policy.server_sets[chain.attempts[0].servers].endpoints)


def test_a_version_fault_here_and_a_dead_server_there_leave_the_living_server():
    sick = (Unhealthy("a", "refuses"), Unhealthy("b", "wrong", "m", "1"))
    policy = compile_policy(replace(BOTH, unhealthy=sick))
    first = policy.models["m"].pinned[0]
    endpoints = policy.server_sets[first.attempts[0].servers].endpoints
    assert [(e.server, e.included) for e in endpoints] == [("a", False), ("b", True)]


def test_a_sick_server_changes_nothing_but_endpoints_and_a_sick_version_no_other_version():
    well = compile_snapshot(BOTH)
    sick = compile_snapshot(replace(BOTH, unhealthy=(Unhealthy("a", "refuses"),)))
    assert {t for t in well.resources if well.resources[t] != sick.resources[t]} == {EDS}
    partly = compile_policy(replace(BOTH, unhealthy=(Unhealthy("a", "wrong", "m", "1"),)))
    first, second, _ = partly.models["m"].pinned
    assert [e.server for e in partly.server_sets[first.attempts[0].servers].endpoints] == ["b"]
    assert [e.server for e in partly.server_sets[second.attempts[0].servers].endpoints] == ["a", "b"]


def test_weights_change_one_table_only():
    def with_split(end: int):
        return compile_snapshot(replace(BOTH, allocations=(Allocation("e", "m", "s", (Range(0, end, "x", "2"),)),)))

    one, two = with_split(1000), with_split(2000)
    assert {t for t in one.resources if one.resources[t] != two.resources[t]} == {RDS}


def test_load_balancing_belongs_to_the_server_set():
    routes = tuple(Route(way.value, "1", load_balancing=way) for way in LoadBalancing)
    deployments = tuple(Deployment(way.value, "1", ("a",)) for way in LoadBalancing)
    policy = compile_policy(replace(BOTH, routes=routes, deployments=deployments))
    assert {s.load_balancing for s in policy.server_sets.values()} == set(LoadBalancing)


WEIGHED = replace(BOTH, routes=(Route("m", "1", load_balancing=LoadBalancing.WEIGHTED_RESPONSE_TIME), Route("n", "1")))


def test_weights_are_the_endpoints_own_and_change_nothing_but_them():
    weights = (ServerWeight("a", 250, "fast"), ServerWeight("b", 40, "slow"), ServerWeight("c", 300))
    before, after = compile_snapshot(WEIGHED), compile_snapshot(replace(WEIGHED, weights=weights))
    assert {t for t in after.resources if before.resources[t] != after.resources[t]} == {EDS}
    for snapshot, expected in ((before, {"a": 100, "b": 100}), (after, {"a": 250, "b": 40})):
        assert {e.server: e.weight for e in explain(snapshot.policy, "m").endpoints} == expected
        assert set(sent_weights(snapshot)) == set(expected.values())
    assert {e.weight_reason for e in explain(after.policy, "m").endpoints} == {"fast", "slow"}


def test_weights_change_nothing_where_nobody_is_weighed():
    weighed = compile_snapshot(replace(BOTH, weights=(ServerWeight("a", 250), ServerWeight("b", 40))))
    assert weighed.resources == compile_snapshot(BOTH).resources
    assert set(sent_weights(weighed)) == {1}


def test_servers_with_names_are_not_weighed():
    """Their weights would travel in the cluster, which Envoy makes anew for each."""
    named = replace(WEIGHED, servers=(A, Server("b", "triton-b.internal", 8001)))
    weighed = compile_snapshot(replace(named, weights=(ServerWeight("a", 250), ServerWeight("b", 40))))
    assert weighed.resources == compile_snapshot(named).resources
    assert {(e.weight, e.weight_reason) for e in explain(weighed.policy, "m").endpoints} == {
        (100, "not weighed: a server of the set has a name for an address")
    }


def sent_weights(snapshot):
    for name in snapshot.resources[EDS]:
        sent = ClusterLoadAssignment.FromString(snapshot.resources[EDS][name].body)
        yield from (endpoint.load_balancing_weight.value for endpoint in sent.endpoints[0].lb_endpoints)


def test_allocations_that_cannot_stand_together_are_left_out_and_said():
    def allocate(name: str, salt: str, *ranges: Range, model: str = "m"):
        return Allocation(name, model, salt, ranges)

    allocations = (
        allocate("a", "s", Range(0, 10, "x", "1")),
        allocate("b", "s", Range(5, 20, "x", "1")),
        allocate("c", "other", Range(30, 40, "x", "1")),
        allocate("d", "s", Range(9_999, 10_001, "x", "1")),
        allocate("e", "s", Range(50, 60, "x", "1")),
        allocate("f", "s", Range(0, 10, "x", "1"), model="nobody"),
    )
    policy = compile_policy(replace(BOTH, allocations=allocations))
    assert [s.experiment for s in policy.models["m"].slices] == ["a", "", "e", ""]
    assert [f.message.split(":")[0] for f in policy.faults] == [f"experiment {n} is left out" for n in "bcdf"]


def test_an_unknown_route_and_an_undeployed_pin_are_not_found():
    policy = compile_policy(BOTH)
    for model, pinned, reason in (("zzz", "", "ROUTE_NOT_FOUND"), ("m", "9", "MODEL_VERSION_NOT_FOUND")):
        with pytest.raises(NotFound) as raised:
            explain(policy, model, "u", pinned)
        assert raised.value.reason == reason


def test_nothing_to_serve_with_is_said():
    policy = compile_policy(replace(BOTH, deployments=(Deployment("m", "1", ()),)))
    found = explain(policy, "m", "u")
    assert (found.why, found.chain.attempts) == (Why.NO_SERVER, ())
    assert [a.reason for a in found.chain.absent] == [
        "version 1 of m is ready on no server",
        "version 3 of m is not deployed",
    ]


def test_servers_with_names_are_resolved_by_envoy_and_the_others_keep_endpoints_of_their_own():
    named = replace(BOTH, servers=(A, Server("b", "triton-b.internal", 8001)))
    snapshot = compile_snapshot(named)
    on_a, on_both = (Deployment("m", v, s) for v, s in (("1", ("a",)), ("2", ("a", "b"))))
    mixed = compile_snapshot(replace(named, deployments=(on_a, on_both), routes=(Route("m", "1"),)))
    assert snapshot.resources[EDS] == {}
    assert len(mixed.resources[EDS]) == 1
    for name, servers in mixed.policy.server_sets.items():
        cluster = Cluster.FromString(mixed.resources[CDS][name].body)
        resolved = {e.server for e in servers.endpoints} == {"a", "b"}
        assert (cluster.type == Cluster.STRICT_DNS) == resolved == (name not in mixed.resources[EDS])
        assert len(cluster.load_assignment.endpoints) == resolved
        assert cluster.outlier_detection.consecutive_local_origin_failure.value == 3
    sick = compile_snapshot(replace(named, unhealthy=(Unhealthy("a", "refuses"),)))
    assert {t for t in sick.resources if snapshot.resources[t] != sick.resources[t]} == {CDS}
