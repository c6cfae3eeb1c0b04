"""From what routing and its siblings decide to what Envoy has, and what stays there when somebody dies."""

import asyncio
import json
import signal
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local.envoy import program
from libs import assignment
from libs.statuses import reason_of
from penstock.routing.v1 import explanation_pb2
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1.route_pb2 import Route
from services.routing.stores.last_known import LastKnownFile
from services.routing.xds.resources import compile_snapshot
from tests.integration.routing.siblings import allocation, deployment, server_health
from tests.polling import eventually_async

A, B = "127.0.0.1:18001", "127.0.0.1:18002"


async def explain(mesh, model, **asked):
    answer = await mesh.routing_direct.ExplainRoute(pb.ExplainRouteRequest(model=model, **asked), timeout=5)
    return answer.explanation


async def create(mesh, model, default, *fallbacks):
    """The route, once routing can store it."""
    route = Route(model=model, default_version=default, fallback_versions=fallbacks)
    request = pb.CreateRouteRequest(request_id=f"create-{model}", route=route)
    return await eventually_async(lambda: mesh.routing_direct.CreateRoute(request), within=30)


async def acknowledged(mesh):
    """The one Envoy, once it has what was sent last."""

    async def probe():
        proxies = (await mesh.routing_direct.ListProxies(pb.ListProxiesRequest(), timeout=5)).proxies
        return len(proxies) == 1 and proxies[0].connected and in_force(proxies[0]) and proxies[0]

    return await eventually_async(probe, within=30)


def in_force(proxy):
    return proxy.acknowledged_revision and proxy.acknowledged_revision == proxy.sent_revision


async def kept(mesh, revision):
    """Once a routing that is killed now would come back with this policy: the file follows what is in force."""
    file = LastKnownFile(mesh.stack.places.data("routing"))

    def probe():
        return compile_snapshot(file.read().inputs()).revision == revision

    await eventually_async(probe)


def envoy_has(mesh):
    """Every dynamic resource of Envoy with its version and the time when it came."""
    address = f"http://127.0.0.1:{mesh.stack.ports['envoy_admin']}/config_dump?include_eds"
    with urllib.request.urlopen(address, timeout=5) as answer:
        return sorted(dynamic(json.load(answer)))


def dynamic(node):
    if isinstance(node, dict):
        if "version_info" in node and "last_updated" in node:
            content = next((v for v in node.values() if isinstance(v, dict)), node)
            yield content.get("name") or content["cluster_name"], node["version_info"], node["last_updated"]
        for child in node.values():
            yield from dynamic(child)
    elif isinstance(node, list):
        for child in node:
            yield from dynamic(child)


async def split(mesh):
    """One model, three versions on two servers, an experiment on half of the buckets; in Envoy."""
    both = {"a": A, "b": B}
    mesh.siblings.fleet.publish([deployment("m", "1", **both), deployment("m", "2", **both), deployment("m", "3", a=A)])
    mesh.siblings.allocations.publish([allocation("e", "m", "salt", (0, 2500, "x", "1"), (2500, 5000, "y", "2"))])
    await create(mesh, "m", "1", "3")

    async def probe():
        return len((await explain(mesh, "m")).shares) == 3

    await eventually_async(probe, within=30)


async def test_explain_says_what_envoy_does(mesh):
    await split(mesh)
    known = await explain(mesh, "m", unit="u")
    assert known.bucket == assignment.bucket("u", "salt")
    assert known.salt == "salt"
    assert known.policy_revision == (await acknowledged(mesh)).acknowledged_revision
    shares = [(s.experiment, s.variant, s.version, s.buckets) for s in (await explain(mesh, "m")).shares]
    assert sorted(shares) == [("", "", "1", 5000), ("e", "x", "1", 2500), ("e", "y", "2", 2500)]
    by_chance = await explain(mesh, "m")
    assert (by_chance.reason, list(by_chance.chain)) == (explanation_pb2.REASON_RANDOM, [])
    assert [(e.server, e.address, e.included) for e in by_chance.endpoints] == [("a", A, True), ("b", B, True)]
    for unit in map(str, range(50)):
        told = await explain(mesh, "m", unit=unit)
        bucket = assignment.bucket(unit, "salt")
        variant, version = ("x", "1") if bucket < 2500 else ("y", "2") if bucket < 5000 else ("", "1")
        assert (told.bucket, told.variant, told.chain[0]) == (bucket, variant, version)
        assert told.chain[-1] == "3"
    pinned = await explain(mesh, "m", version="3")
    assert (pinned.reason, set(pinned.chain)) == (explanation_pb2.REASON_PINNED, {"3"})

    mesh.siblings.health.publish([server_health("b", receives_traffic=False, reason="connection refused")])

    async def out():
        endpoints = {e.server: e for e in (await explain(mesh, "m", unit="u")).endpoints}
        return not endpoints["b"].included and endpoints["b"]

    assert "connection refused" in (await eventually_async(out)).exclusion_reason
    mesh.siblings.health.publish([server_health("b", receives_traffic=True)])

    async def back():
        return all(endpoint.included for endpoint in (await explain(mesh, "m", unit="u")).endpoints)

    await eventually_async(back)


async def test_what_cannot_be_explained_is_said(mesh):
    await split(mesh)
    for asked, code, reason in (
        ({"model": "nobody"}, grpc.StatusCode.NOT_FOUND, "ROUTE_NOT_FOUND"),
        ({"model": "m", "version": "9"}, grpc.StatusCode.NOT_FOUND, "MODEL_VERSION_NOT_FOUND"),
        ({"model": "m", "proxy": "nobody"}, grpc.StatusCode.NOT_FOUND, "PROXY_NOT_FOUND"),
        ({"model": "m", "unit": "u" * 1025}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
        ({"model": ""}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await explain(mesh, **asked)
        assert (raised.value.code(), reason_of(raised.value)) == (code, reason)


async def test_the_exported_policy_is_one_that_envoy_accepts(mesh, tmp_path):
    await split(mesh)
    exported = await mesh.routing_direct.ExportPolicy(pb.ExportPolicyRequest(), timeout=10)
    assert exported.revision == (await acknowledged(mesh)).acknowledged_revision
    file = tmp_path / "policy.yaml"
    file.write_text(exported.yaml)
    validation = await asyncio.create_subprocess_exec(
        str(program()), "--mode", "validate", "-c", str(file), stderr=asyncio.subprocess.PIPE
    )
    _, said = await validation.communicate()
    assert validation.returncode == 0, said.decode()


async def test_a_routing_that_was_killed_changes_nothing_in_envoy(own_mesh):
    mesh = own_mesh
    await split(mesh)
    before = await acknowledged(mesh)
    had = await asyncio.to_thread(envoy_has, mesh)
    assert had
    await kept(mesh, before.acknowledged_revision)
    mesh.stack.kill("routing")
    await eventually_async(lambda: mesh.stack.restarts("routing") == 1, within=30)
    after = await acknowledged(mesh)
    assert after.acknowledged_revision == before.acknowledged_revision
    assert await asyncio.to_thread(envoy_has, mesh) == had

    mesh.siblings.allocations.publish([])

    async def without_experiment():
        return len((await explain(mesh, "m")).shares) == 1

    await eventually_async(without_experiment)
    changed = set(await asyncio.to_thread(envoy_has, mesh)) - set(had)
    assert [name for name, _, _ in changed] == ["model/m"], "only the model's own table is sent"


async def test_a_routing_that_comes_back_alone_goes_on_with_the_last_policy(own_mesh):
    mesh = own_mesh
    await split(mesh)
    before = await acknowledged(mesh)
    had = await asyncio.to_thread(envoy_has, mesh)
    await kept(mesh, before.acknowledged_revision)
    await mesh.siblings.stop()
    mesh.stack.send("postgres", signal.SIGSTOP)
    try:
        mesh.stack.kill("routing")
        await eventually_async(lambda: mesh.stack.restarts("routing") == 1, within=30)
        assert (await acknowledged(mesh)).acknowledged_revision == before.acknowledged_revision
        assert await asyncio.to_thread(envoy_has, mesh) == had
        health = health_pb2_grpc.HealthStub(mesh.ingress)

        async def serving():
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
            return answer.status == health_pb2.HealthCheckResponse.SERVING

        await eventually_async(serving)
        assert (await explain(mesh, "m", unit="u")).chain
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await mesh.routing_direct.GetRoute(pb.GetRouteRequest(model="m"), timeout=10)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(raised.value) == "STORE_UNAVAILABLE"
    finally:
        mesh.stack.send("postgres", signal.SIGCONT)
    await eventually_async(lambda: mesh.routing_direct.GetRoute(pb.GetRouteRequest(model="m"), timeout=5), within=30)
    await mesh.siblings.start(mesh.stack.ports)
    mesh.siblings.allocations.publish([])

    async def heard():
        return len((await explain(mesh, "m")).shares) == 1

    await eventually_async(heard, within=30)
