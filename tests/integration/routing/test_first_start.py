"""The first start ever: no policy yet, and doors that are open all the same."""

import asyncio

import grpc
import pytest

from libs.channels import open_channel
from libs.statuses import reason_of
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from tests.conftest import running
from tests.integration.routing.conftest import PARTS
from tests.integration.routing.siblings import Siblings
from tests.polling import eventually_async


@pytest.fixture
async def alone(tmp_path):
    """Postgres, Envoy and routing, without any sibling."""
    around = running(tmp_path, PARTS)
    yield await asyncio.to_thread(around.__enter__)
    await asyncio.to_thread(around.__exit__, None, None, None)


async def test_before_anybody_has_spoken_there_are_doors_but_no_policy(alone):
    channel, siblings = open_channel(alone.address("ingress")), Siblings()
    routing = RoutingServiceStub(channel)
    try:
        assert (await eventually_async(lambda: routing.ListProxies(pb.ListProxiesRequest()))).proxies[0].connected
        for call in (
            routing.ExplainRoute(pb.ExplainRouteRequest(model="m")),
            routing.ExportPolicy(pb.ExportPolicyRequest()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call
            assert (raised.value.code(), reason_of(raised.value)) == (grpc.StatusCode.UNAVAILABLE, "POLICY_NOT_READY")
        await siblings.start(alone.ports)
        siblings.say_all_is_well()

        async def policy():
            return (await routing.ListProxies(pb.ListProxiesRequest())).proxies[0].acknowledged_revision

        revision = await eventually_async(policy)
        assert (await routing.ExportPolicy(pb.ExportPolicyRequest())).revision == revision
    finally:
        await channel.close()
        await siblings.stop()
