"""Policies change under callers that notice nothing; and no word from routing is not a word that all is gone."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import replace
from types import MappingProxyType

import grpc

from services.routing.domain.policy import (
    Allocation,
    Deployment,
    Exhausted,
    Inputs,
    LoadBalancing,
    ModelVersion,
    Range,
    Route,
    Unhealthy,
)
from services.routing.domain.snapshot import Resource
from services.routing.xds.resources import CDS, compile_snapshot
from tests.integration.dataplane import models
from tests.integration.dataplane.load import under_load
from tests.integration.dataplane.plane import DataPlane
from tests.polling import eventually


def dumped(plane: DataPlane, what: str) -> str:
    """The names and versions that Envoy holds."""
    with urllib.request.urlopen(f"http://{plane.stack.address('envoy_admin')}/config_dump?resource={what}") as reply:
        return json.dumps(json.load(reply), sort_keys=True)


def split(end: int) -> tuple[Allocation, ...]:
    return (Allocation("e", "m", "salt", (Range(0, end, "x", "2"),)),) if end else ()


def variations(plane: DataPlane) -> list[Inputs]:
    """Weights, endpoints, server sets, chains, load balancing and routes come and go."""
    inputs = plane.inputs
    more = tuple(Route(f"other-{n}", "1", (ModelVersion("m", "2"),)) for n in range(30))
    return [
        inputs(allocations=split(1000)),
        inputs(allocations=split(7000)),
        inputs(unhealthy=(Unhealthy("a", "test"),)),
        inputs(unhealthy=(Unhealthy("b", "test"),), allocations=split(5000)),
        inputs(routes=(Route("m", "1", (ModelVersion("m", "2"),)), *more)),
        inputs(routes=(Route("m", "2", (ModelVersion("m", "4"), ModelVersion("m", "1"))),)),
        inputs(routes=(Route("m", "1", load_balancing=LoadBalancing.ROUND_ROBIN),)),
        inputs(unhealthy=(Unhealthy("a", "test", "m", "1"),)),
        inputs(deployments=(Deployment("m", "1", ("b",)), Deployment("m", "2", ("a",)))),
        inputs(),
    ]


def test_no_call_fails_while_policies_change(data_plane: DataPlane):
    with under_load(data_plane, callers=8) as load:
        for _ in range(3):
            for inputs in variations(data_plane):
                data_plane.apply(inputs)
                load.wait_for(50)
    assert load.codes() == {"OK": len(load.calls)}


def test_what_no_policy_names_is_removed_in_the_end(data_plane: DataPlane):
    for inputs in variations(data_plane):
        data_plane.apply(inputs)
    snapshot = data_plane.apply(data_plane.inputs())
    wanted = set(snapshot.resources[CDS])

    def clusters() -> bool:
        held = json.loads(dumped(data_plane, "dynamic_active_clusters"))
        return {c["cluster"]["name"] for c in held["configs"]} == wanted

    eventually(clusters)


def test_an_unhealthy_server_gets_no_calls_and_returns(data_plane: DataPlane, ingress: grpc.Channel):
    a, b = (f"127.0.0.1:{server.port}" for server in data_plane.servers())

    def used() -> set[str]:
        answers = [models.call(ingress) for _ in range(24)]
        return {data_plane.record(answer.headers["x-request-id"]).upstream for answer in answers}

    data_plane.apply(data_plane.inputs(unhealthy=(Unhealthy("a", "refuses"),)))
    assert used() == {b}
    data_plane.apply(data_plane.inputs())
    assert used() == {a, b}


def test_a_spent_budget_refuses_its_tenant(data_plane: DataPlane, ingress: grpc.Channel):
    data_plane.apply(data_plane.inputs(exhausted=(Exhausted("local"),)))
    answer = models.call(ingress)
    assert (answer.code, answer.text) == ("RESOURCE_EXHAUSTED", "the budget for m of tenant local is spent")
    data_plane.apply(data_plane.inputs(exhausted=(Exhausted("acme"), Exhausted("local", "other"))))
    assert models.call(ingress).code == "OK"


def test_an_ads_server_that_knows_nothing_empties_nobody(data_plane: DataPlane):
    before = [dumped(data_plane, what) for what in ("dynamic_active_clusters", "dynamic_scoped_route_configs")]
    with under_load(data_plane, callers=4) as load:
        data_plane.stop_ads()
        load.wait_for(200)
        data_plane.serve_ads()
        eventually(lambda: data_plane.ads.proxies() and data_plane.ads.proxies()[0].connected)
        load.wait_for(200)
        assert data_plane.acknowledged() == ""
        after = [dumped(data_plane, what) for what in ("dynamic_active_clusters", "dynamic_scoped_route_configs")]
        assert after == before
        data_plane.apply(data_plane.inputs())
        load.wait_for(50)
    assert load.codes() == {"OK": len(load.calls)}
    assert [dumped(data_plane, "dynamic_active_clusters")] == before[:1], "nothing had to be sent again"


def test_a_refused_policy_leaves_the_last_one_in_force_and_is_told(data_plane: DataPlane, ingress: grpc.Channel):
    good = compile_snapshot(data_plane.inputs(allocations=split(5000)))
    bad = Resource.of(b"\x0a\x03bad\x10\x63")  # a cluster of a type that does not exist
    resources = {**good.resources, CDS: {**good.resources[CDS], "bad": bad}}
    before = data_plane.acknowledged()
    data_plane.publish(replace(good, resources=MappingProxyType(resources)))

    def rejection() -> str:
        return "".join(r.message for r in data_plane.ads.proxies()[0].rejections)

    assert "bad" in eventually(rejection)
    assert data_plane.acknowledged() == before
    assert models.call(ingress).code == "OK"
    data_plane.apply(data_plane.inputs(allocations=split(6000)))
    assert rejection() == ""
