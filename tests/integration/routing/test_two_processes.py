"""Two routings on one Postgres: one policy, one history; an Envoy that moves from one to the other is sent nothing."""

import asyncio
import os
import re
import subprocess
import sys
import urllib.request
from contextlib import asynccontextmanager
from itertools import pairwise

from google.protobuf.field_mask_pb2 import FieldMask

from deploy.local import parts
from deploy.local.ports import Ports
from libs.channels import open_channel
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1.route_pb2 import Route
from penstock.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from tests.integration.routing.siblings import allocation, deployment
from tests.integration.routing.test_policy_in_envoy import A, B, acknowledged, create
from tests.polling import eventually_async

SENT = re.compile(r'^penstock_ads_resources_sent_total\{type="\w+"\} (\S+)$', re.MULTILINE)
ROUTES = 12


@asynccontextmanager
async def another_routing(stack, folder, address, metrics_port=0):
    """A process beside the stack's own, with nothing but the same Postgres and the same mesh; its stub."""
    environment = {
        **os.environ,
        **parts.environment(stack.places, stack.ports, "routing"),
        "PENSTOCK_LISTEN": address,
        "PENSTOCK_STATE_DIR": str(folder),
        "PENSTOCK_METRICS_PORT": str(metrics_port),
    }
    process = await asyncio.to_thread(subprocess.Popen, [sys.executable, "-m", "services.routing"], env=environment)
    channel = open_channel(address)
    try:
        yield RoutingServiceStub(channel)
    finally:
        await channel.close()
        process.terminate()
        await asyncio.to_thread(process.wait)


async def revision(routing):
    return (await routing.ExportPolicy(pb.ExportPolicyRequest(), timeout=5)).revision


async def same(one, other):
    """The revision of both, once it is one."""

    async def probe():
        found = {await revision(one), await revision(other)}
        return found.pop() if len(found) == 1 else None

    return await eventually_async(probe, within=30, message="two replicas never agree")


async def snapshots(routing):
    return (await routing.ListSnapshots(pb.ListSnapshotsRequest(), timeout=5)).snapshots


def say(mesh):
    """Two models, one of them in an experiment."""
    mesh.siblings.fleet.publish([deployment(model, v, a=A, b=B) for model in ("m", "n") for v in ("1", "2")])
    mesh.siblings.allocations.publish([allocation("e", "m", "salt", (0, 5000, "x", "2"))])


async def test_two_replicas_have_one_policy_and_one_history(own_mesh, tmp_path):
    stack, one = own_mesh.stack, own_mesh.routing_direct
    say(own_mesh)
    await create(own_mesh, "m", "1", "2")
    async with another_routing(stack, tmp_path, f"127.0.0.1:{Ports.free()['routing']}") as other:
        await same(one, other)
        first = await snapshots(one)

        async def write(n):
            made = Route(model=f"model-{n}", default_version="1")
            await (one if n % 2 else other).CreateRoute(pb.CreateRouteRequest(route=made), timeout=20)

        await asyncio.gather(*(write(n) for n in range(ROUTES)))
        for n in range(ROUTES):
            changed = Route(model="m", default_version=str(1 + n % 2))
            request = pb.UpdateRouteRequest(route=changed, update_mask=FieldMask(paths=["default_version"]))
            await (other if n % 2 else one).UpdateRoute(request, timeout=20)
        agreed = await same(one, other)
        assert (await acknowledged(own_mesh)).acknowledged_revision == agreed

        async def told():
            return (await snapshots(one))[0].revision == agreed == (await snapshots(other))[0].revision

        await eventually_async(told, within=30, message="the history ends with what is in force")
        history = await snapshots(one)
    assert list(history) == list(await snapshots(one)), "whichever replica is asked, and when one has gone"
    numbers = [s.number for s in history]
    assert numbers == list(range(numbers[0], 0, -1)), "no number is missing, none stands twice"
    assert len(history) > len(first)
    revisions = [s.revision for s in history]
    assert all(newer != older for newer, older in pairwise(revisions)), "nothing is told twice"


async def test_an_envoy_that_moves_to_another_replica_is_sent_nothing(own_mesh, tmp_path):
    stack = own_mesh.stack
    say(own_mesh)
    await create(own_mesh, "m", "1", "2")
    await create(own_mesh, "n", "1")
    before = await acknowledged(own_mesh)
    await asyncio.to_thread(stack.hold, "routing")
    metrics = Ports.free()["routing_metrics"]
    async with another_routing(stack, tmp_path, stack.address("routing"), metrics) as other:

        async def moved():
            (proxy,) = (await other.ListProxies(pb.ListProxiesRequest(), timeout=5)).proxies
            return proxy.connected and proxy.acknowledged_revision

        assert (
            await eventually_async(moved, within=30, message="Envoy comes to the other") == before.acknowledged_revision
        )
        page = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics").read())
        assert sum(float(count) for count in SENT.findall(page.decode())) == 0
    stack.release("routing")
