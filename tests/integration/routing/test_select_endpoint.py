"""SelectEndpoint as a caller without Envoy meets it: servers that come and go, as health_monitoring says."""

from __future__ import annotations

import urllib.request

import grpc
import pytest

from libs.statuses import reason_of
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1 import selection_pb2
from penstock.routing.v1.route_pb2 import LOAD_BALANCING_RING_HASH, Route
from tests.integration.routing.siblings import deployment, server_health
from tests.polling import eventually_async

SERVERS = {name: f"127.0.0.1:{18100 + n}" for n, name in enumerate("abc")}
UNITS = [f"unit {n}" for n in range(30)]


async def selected(mesh, unit, **asked):
    request = pb.SelectEndpointRequest(model="picked", unit=unit, **asked)
    return (await mesh.routing.SelectEndpoint(request, timeout=5)).selection


async def out(mesh, *servers):
    """Once the policy has it."""
    mesh.siblings.health.publish(
        [server_health(name, receives_traffic=name not in servers, reason=f"{name} is gone") for name in SERVERS]
    )

    async def known():
        explained = await mesh.routing_direct.ExplainRoute(pb.ExplainRouteRequest(model="picked"), timeout=5)
        reasons = {e.server for e in explained.explanation.endpoints if e.exclusion_reason}
        return reasons == set(servers)

    await eventually_async(known, within=20)


def outcomes(mesh):
    with urllib.request.urlopen(f"http://127.0.0.1:{mesh.stack.ports['routing_metrics']}/metrics") as page:
        lines = page.read().decode().splitlines()
    counted = [line.split() for line in lines if line.startswith("penstock_endpoint_selections_total{")]
    return {name.split('"')[1]: float(value) for name, value in counted}


async def test_the_next_server_takes_over_and_everyone_out_is_an_error(mesh):
    mesh.siblings.fleet.publish([deployment("picked", "1", **SERVERS)])
    route = Route(model="picked", default_version="1", load_balancing=LOAD_BALANCING_RING_HASH)
    request = pb.CreateRouteRequest(request_id="picked", route=route)
    await eventually_async(lambda: mesh.routing_direct.CreateRoute(request), within=30)
    await eventually_async(lambda: selected(mesh, "u"), within=20)
    await out(mesh)
    before = outcomes(mesh)
    first = {unit: await selected(mesh, unit) for unit in UNITS}
    assert {each.endpoint.server for each in first.values()} == set(SERVERS)
    for each in first.values():
        assert (each.method, each.version, each.HasField("failover")) == (selection_pb2.METHOD_RING, "1", False)
        assert each.endpoint.address == SERVERS[each.endpoint.server]
        assert {each.endpoint.server, *(other.server for other in each.others)} == set(SERVERS)
    assert outcomes(mesh)["first"] == before["first"] + len(UNITS)

    await out(mesh, "b")
    moved = 0
    for unit, was in first.items():
        now = await selected(mesh, unit)
        assert now.HasField("failover") == (was.endpoint.server == "b")
        if now.HasField("failover"):
            moved += 1
            assert (now.failover.server, now.failover.reason) == ("b", "b is gone")
            assert now.endpoint.server in ("a", "c")
    assert outcomes(mesh)["failover"] == before.get("failover", 0) + moved > 0

    await out(mesh, "a", "b", "c")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await selected(mesh, "u")
    assert (raised.value.code(), reason_of(raised.value)) == (grpc.StatusCode.UNAVAILABLE, "NO_HEALTHY_ENDPOINTS")
    assert "a is gone" in raised.value.details()
    assert outcomes(mesh)["none"] == before.get("none", 0) + 1
    await out(mesh)


@pytest.mark.parametrize(
    ("asked", "code", "reason"),
    [
        ({"model": "nobody"}, grpc.StatusCode.NOT_FOUND, "ROUTE_NOT_FOUND"),
        ({"model": "m m"}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ({"model": "m", "unit": "x" * 1025}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ],
)
async def test_what_cannot_be_selected_is_said(mesh, asked, code, reason):
    async def refused():
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await mesh.routing_direct.SelectEndpoint(pb.SelectEndpointRequest(**asked), timeout=5)
        return (raised.value.code(), reason_of(raised.value)) == (code, reason)

    await eventually_async(refused, within=30)
