"""Snapshots on real servers: the way back leads traffic back, and the history is never in the policy's way."""

import asyncio
import contextlib
import urllib.request
from importlib import import_module

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from libs.statuses import reason_of
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1 import snapshot_pb2 as sn
from penstock.routing.v1.route_pb2 import LOAD_BALANCING_WEIGHTED_RESPONSE_TIME, Route
from tests.e2e.exposition import SAMPLE
from tests.integration.routing.conftest import PARTS, mesh_of
from tests.integration.routing.siblings import deployment, server_health
from tests.integration.routing.test_policy_in_envoy import acknowledged, create
from tests.models import answered_by, infer_request, shift
from tests.polling import eventually_async

VERSIONS = ("1", "2", "3")
CONFIGURATION = """
name: "shifted"
backend: "onnxruntime"
version_policy { all {} }
input [{ name: "X" data_type: TYPE_FP32 dims: [-1, 4] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [-1, 4] }]
"""
ANA = (("x-penstock-principal", "ana"),)
BOB = (("x-penstock-principal", "bob"),)


@pytest.fixture(scope="module")
async def serving_mesh(tmp_path_factory):
    """One Triton with three versions of `shifted`, and a route to the first."""
    async with mesh_of(tmp_path_factory.mktemp("a mesh with a history"), (*PARTS, "triton-a")) as mesh:
        at = mesh.stack.address("triton_a_grpc")
        folder = mesh.stack.repository("a") / "shifted"
        for version in VERSIONS:
            (folder / version).mkdir(parents=True)
            (folder / version / "model.onnx").write_bytes(shift(int(version)))
        (folder / "config.pbtxt").write_text(CONFIGURATION)
        async with InferenceServerClient(at) as client:
            await client.load_model("shifted")
        mesh.deploy = lambda *versions: mesh.siblings.fleet.publish(
            [deployment("shifted", version, a=at) for version in versions]
        )
        mesh.deploy(*VERSIONS)
        await create(mesh, "shifted", "1")
        await answers(mesh, "1")
        yield mesh


async def answers(mesh, version):
    """Traffic has come to this version."""
    infer = GRPCInferenceServiceStub(mesh.ingress).ModelInfer

    async def probe():
        return answered_by(await infer(infer_request("shifted"), timeout=10)) == version

    await eventually_async(probe, within=30, message=f"version {version} answers")


async def lead_to(mesh, version, metadata=ANA, **more):
    """Write the route; returns the snapshot that tells of it."""
    route = Route(model="shifted", default_version=version, **more)
    mask = FieldMask(paths=["default_version", *more])
    request = pb.UpdateRouteRequest(route=route, update_mask=mask)
    before = (await recorded(mesh))[0]
    await mesh.routing_direct.UpdateRoute(request, metadata=metadata, timeout=10)
    found = await told(mesh, lambda s: s.number > before.number and f"-> {version}" in " ".join(s.reasons))
    await answers(mesh, version)
    return found


async def recorded(mesh):
    return (await mesh.routing_direct.ListSnapshots(pb.ListSnapshotsRequest(), timeout=10)).snapshots


async def told(mesh, holds):
    """The newest snapshot of which it holds, once there is one."""

    async def probe():
        return next((snapshot for snapshot in await recorded(mesh) if holds(snapshot)), None)

    return await eventually_async(probe, within=30, message="the history tells of it")


def rollback(mesh, metadata=(), **asked):
    return mesh.routing_direct.RollbackSnapshot(pb.RollbackSnapshotRequest(**asked), metadata=metadata, timeout=10)


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), reason_of(raised.value)


async def test_a_rollback_leads_traffic_back_and_says_who_and_what(serving_mesh):
    mesh = serving_mesh
    first = await told(mesh, lambda s: s.revision)
    second = await lead_to(mesh, "2")
    assert list(second.authors) == ["ana"]
    assert list(second.reasons) == ["route shifted: default_version 1 -> 2"]
    assert sum(count.changed for count in second.counts) >= 1
    stored = (await mesh.routing_direct.GetRoute(pb.GetRouteRequest(model="shifted"))).route

    asked = {"revision": first.revision, "request_id": "back-to-the-first"}
    dry = await rollback(mesh, revision=first.revision, validate_only=True)
    assert [(r.model, r.what) for r in dry.routes] == [("shifted", "default_version 2 -> 1")]
    assert (await mesh.routing_direct.GetRoute(pb.GetRouteRequest(model="shifted"))).route == stored
    done = await rollback(mesh, BOB, **asked)
    assert done.routes == dry.routes
    await answers(mesh, "1")
    third = await told(mesh, lambda s: s.number > second.number)
    assert list(third.authors) == ["bob"]
    assert list(third.reasons) == [
        f"rollback to snapshot {first.number} (revision {first.revision})",
        "route shifted: default_version 2 -> 1",
    ]
    assert third.revision == first.revision, "the policy is what it was"
    proxy = await acknowledged(mesh)
    assert proxy.acknowledged_revision == first.revision
    assert (await mesh.routing_direct.GetRoute(pb.GetRouteRequest(model="shifted"))).route.etag != stored.etag

    await lead_to(mesh, "2")
    assert await rollback(mesh, BOB, **asked) == done, "a repeat is answered as the first was"
    await answers(mesh, "2")
    other = rollback(mesh, revision=second.revision, request_id="back-to-the-first")
    assert await refused(other) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")


async def test_what_can_no_longer_hold_is_refused_and_changes_nothing(serving_mesh):
    mesh = serving_mesh
    old = await lead_to(mesh, "3", fallback_versions=["1"])
    await lead_to(mesh, "2", fallback_versions=[])
    mesh.deploy("1", "2")

    async def refusal():
        try:
            await rollback(mesh, revision=str(old.number), validate_only=True)
        except grpc.aio.AioRpcError as error:
            return reason_of(error)
        return ""

    try:
        # as soon as routing has heard of it
        await eventually_async(refusal, within=10)
        answer = await refused(rollback(mesh, revision=str(old.number)))
        assert answer == (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_NOT_READY")
        await answers(mesh, "2")
    finally:
        mesh.deploy(*VERSIONS)


async def test_routes_that_came_since_are_kept_unless_they_are_to_go(serving_mesh):
    mesh = serving_mesh
    before = (await recorded(mesh))[0]
    await create(mesh, "came-later", "1")
    await told(mesh, lambda s: "route came-later: created, default_version 1" in s.reasons)
    kept = await rollback(mesh, revision=str(before.number))
    assert (list(kept.routes), list(kept.kept_models)) == ([], ["came-later"])
    gone = await rollback(mesh, revision=str(before.number), models=["came-later"], delete_newer=True)
    assert [(r.model, r.change) for r in gone.routes] == [("came-later", sn.CHANGE_REMOVED)]
    missing = mesh.routing_direct.GetRoute(pb.GetRouteRequest(model="came-later"))
    assert await refused(missing) == (grpc.StatusCode.NOT_FOUND, "ROUTE_NOT_FOUND")


async def test_a_snapshot_can_be_read_and_compared(serving_mesh):
    mesh = serving_mesh
    older = await lead_to(mesh, "1")
    newer = await lead_to(mesh, "2")
    for asked in (str(newer.number), newer.revision, ""):
        got = await mesh.routing_direct.GetSnapshot(pb.GetSnapshotRequest(revision=asked, model="shifted"), timeout=10)
        assert got.snapshot == newer
        assert [set(part.chain) for part in got.models[0].slices] == [{"2"}]
        assert {r.type for r in got.resources} == {
            "Cluster",
            "ClusterLoadAssignment",
            "RouteConfiguration",
            "ScopedRouteConfiguration",
        }
        assert {r.yaml for r in got.resources} == {""}
    then = pb.GetSnapshotRequest(revision=str(older.number), model="shifted", with_yaml=True)
    got = await mesh.routing_direct.GetSnapshot(then, timeout=10)
    assert [set(part.chain) for part in got.models[0].slices] == [{"1"}]
    assert [member.server for found in got.server_sets for member in found.members] == ["a"]
    (table,) = [r.yaml for r in got.resources if r.type == "RouteConfiguration"]
    assert table.startswith("name: model/shifted\n")

    asked = pb.DiffSnapshotsRequest(from_revision=str(older.number), to_revision=newer.revision)
    found = await mesh.routing_direct.DiffSnapshots(asked, timeout=10)
    assert (found.from_snapshot.number, found.to_snapshot) == (older.number, newer)
    changed = {(d.type, d.name): d for d in found.differences}
    assert set(changed) == {("route", "shifted"), ("RouteConfiguration", "model/shifted")}
    assert found.differences[0].type == "route", "inputs come first"
    route = changed["route", "shifted"]
    assert "default_version: '1'" in route.before
    assert "default_version: '2'" in route.after
    asked.page_size = 1
    pages = [await mesh.routing_direct.DiffSnapshots(asked, timeout=10)]
    asked.page_token = pages[0].next_page_token
    pages.append(await mesh.routing_direct.DiffSnapshots(asked, timeout=10))
    assert [d for page in pages for d in page.differences] == list(found.differences)
    assert pages[1].next_page_token == ""


async def test_a_snapshot_says_how_servers_are_weighed(serving_mesh):
    mesh = serving_mesh
    weighed = server_health("a", receives_traffic=True)
    weighed.weight, weighed.weight_reason = 64, "p99 is 2.2 times the mean"
    mesh.siblings.health.publish([weighed])
    route = Route(model="shifted", load_balancing=LOAD_BALANCING_WEIGHTED_RESPONSE_TIME)
    request = pb.UpdateRouteRequest(route=route, update_mask=FieldMask(paths=["load_balancing"]))
    await mesh.routing_direct.UpdateRoute(request, timeout=10)

    async def members():
        got = await mesh.routing_direct.GetSnapshot(pb.GetSnapshotRequest(model="shifted"), timeout=10)
        found = [(m.server, m.weight, m.weight_reason) for s in got.server_sets for m in s.members]
        return found == [("a", 64, "p99 is 2.2 times the mean")]

    await eventually_async(members, within=30, message="the newest snapshot has the weight")
    mesh.siblings.health.publish([])


async def test_while_postgres_is_down_policy_is_published_and_the_gap_is_told(serving_mesh):
    mesh = serving_mesh
    before = await lead_to(mesh, "1")
    await asyncio.to_thread(mesh.stack.hold, "postgres")
    try:
        revisions = {before.revision}
        for versions in (("1", "2"), ("1", "3"), ("1",)):
            mesh.deploy(*versions)
            running = await eventually_async(lambda: other_revision(mesh, revisions), within=10)
            revisions.add(running)
        newest = await mesh.routing_direct.GetSnapshot(pb.GetSnapshotRequest(), timeout=10)
        assert newest.snapshot.number == 0
        assert newest.snapshot.revision == running
        assert newest.models[0].pinned_versions == ["1"]
    finally:
        await asyncio.to_thread(mesh.stack.release, "postgres")
    after = await told(mesh, lambda s: s.number > before.number and s.revision == running)
    assert after.unrecorded >= 1
    assert "model_serving" in after.authors
    assert "deployment shifted/2: ready on a -> not deployed" in after.reasons
    mesh.deploy(*VERSIONS)


async def other_revision(mesh, seen):
    """What Envoy runs, once it is something that was not seen yet."""
    running = (await acknowledged(mesh)).acknowledged_revision
    return running not in seen and running


async def rejecting(mesh):
    address = f"http://{mesh.stack.address('routing_metrics')}/metrics"

    def read():
        with urllib.request.urlopen(address, timeout=5) as page:
            return page.read().decode()

    page = await asyncio.to_thread(read)
    assert any(match[1] == "penstock_policy_rejected" for match in SAMPLE.finditer(page))
    return float(page.partition("\npenstock_policy_rejected ")[2].partition("\n")[0])


async def test_an_envoy_that_refuses_is_seen_by_whoever_watches(serving_mesh):
    mesh = serving_mesh
    assert await rejecting(mesh) == 0
    discovery = import_module("envoy.service.discovery.v3.discovery_pb2")
    stub = import_module("envoy.service.discovery.v3.ads_pb2_grpc").AggregatedDiscoveryServiceStub(mesh.direct)
    request = discovery.DeltaDiscoveryRequest
    stream = stub.DeltaAggregatedResources()
    clusters = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    await stream.write(request(node={"id": "refuser"}, type_url=clusters))
    answer = await stream.read()
    error = {"code": 3, "message": "no such cluster type"}
    await stream.write(request(type_url=clusters, response_nonce=answer.nonce, error_detail=error))

    async def told_of():
        proxies = (await mesh.routing_direct.ListProxies(pb.ListProxiesRequest(), timeout=5)).proxies
        return [r.message for p in proxies if p.id == "refuser" for r in p.rejections] == ["no such cluster type"]

    await eventually_async(told_of)
    assert await rejecting(mesh) == 1
    stream.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await stream.read()

    async def none_is_left():
        return await rejecting(mesh) == 0

    await eventually_async(none_is_left)
