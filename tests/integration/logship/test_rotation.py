"""Setting the record log aside under a real Envoy, which writes the lines and carries them to the sinks."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse
from google.protobuf.any_pb2 import Any

from deploy.envoy.logship.record_log import RecordLog
from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from services.routing.xds.access import FILTER
from services.routing.xds.resources import ECDS, without_policy
from tests.integration.logship.conftest import Companion
from tests.polling import eventually_async

METHOD = "/inference.GRPCInferenceService/ModelInfer"
MESSAGE = b"\x0a\x07nothing"
ROTATE_BYTES = 20_000


class NoPolicy(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """Tells Envoy at once that everybody may call and nothing is served, for which it would wait half a minute."""

    def DeltaAggregatedResources(self, request_iterator, context):
        asked = set()
        for request in request_iterator:
            if request.type_url not in asked:
                asked.add(request.type_url)
                answer = DeltaDiscoveryResponse(type_url=request.type_url, nonce="1", system_version_info="1")
                if request.type_url == ECDS:
                    gate = without_policy(authentication=False)[ECDS][FILTER]
                    answer.resources.add(name=FILTER, version="1", resource=Any(type_url=ECDS, value=gate.body))
                yield answer


@pytest.fixture(scope="module")
def envoy(tmp_path_factory):
    """An Envoy without any policy: it refuses each inference, and records it."""
    stack = Stack(Places.of(tmp_path_factory.mktemp("an envoy")), Ports.free(), ("envoy",), durable=False)
    routing = grpc.server(ThreadPoolExecutor())
    ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(NoPolicy(), routing)
    routing.add_insecure_port(stack.address("routing"))
    routing.start()
    try:
        stack.start(parent=os.getpid())
        yield stack
    finally:
        stack.stop()
        stack.remove()
        routing.stop(0)


@pytest.fixture
async def shipping(envoy, sinks, tmp_path):
    await sinks.stop()
    sinks.addresses += [envoy.address("cost_tracking"), envoy.address("experimentation")]
    await sinks.start()
    one = Companion(
        tmp_path,
        envoy.address("mesh"),
        PENSTOCK_ACCESS_LOG=str(envoy.places.data("envoy") / "records.log"),
        PENSTOCK_ENVOY_ADMIN=envoy.address("envoy_admin"),
        PENSTOCK_ROTATE_BYTES=str(ROTATE_BYTES),
    )
    one.log = envoy.places.data("envoy") / "records.log"
    yield one
    one.kill()


async def call(envoy, count: int) -> list[str]:
    """So many inferences, one after the other; the ids that Envoy gave them."""
    async with grpc.aio.insecure_channel(envoy.address("ingress")) as channel:
        infer = channel.unary_unary(METHOD)
        ids = []
        for _ in range(count):
            calling = infer(MESSAGE, timeout=10)
            await calling.code()
            ids.append(dict(await calling.trailing_metadata()).get("x-request-id"))
        return ids


async def call_by_hand(envoy, request_id: bytes) -> None:
    """What no gRPC library would send: the client's id as it is, over HTTP/1.1."""
    body = b"\0" + len(MESSAGE).to_bytes(4, "big") + MESSAGE
    head = (b"POST", METHOD.encode(), b"HTTP/1.1\r\nhost: envoy\r\ncontent-type: application/grpc\r\nconnection: close")
    reader, writer = await asyncio.open_connection(*envoy.address("ingress").split(":"))
    writer.write(
        b" ".join(head) + b"\r\nx-request-id: " + request_id + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    )
    assert b"grpc-status: 5" in await reader.read()
    writer.close()


async def test_whatever_clients_call_their_requests_they_are_read(envoy, sinks, shipping):
    for request_id in (b"mine\twith\ttabs", b"\xff\xfe", b"\t".join([b"1"] * 40), b"x" * 5000, "näme".encode()):
        await call_by_hand(envoy, request_id)
    shipping.start()
    await eventually_async(lambda: sinks.all_have(5), within=60)
    assert sinks.costs.unreadable == 0


async def test_no_line_is_lost_while_files_come_and_go(envoy, sinks, shipping):
    shipping.start()
    ids = []
    while len(sinks.costs.committed) < 5:
        for several in await asyncio.gather(*(call(envoy, 60) for _ in range(4))):
            ids += several
    assert None not in ids
    await eventually_async(lambda: sinks.have(ids), within=60)
    assert set(sinks.costs.seen.values()) == set(sinks.exposures.seen.values()) == {1}
    assert sinks.costs.unreadable == 0
    # what every sink has is deleted; what Envoy writes is kept
    log = RecordLog(shipping.log)
    await eventually_async(lambda: not log.set_aside(), within=60)
    assert shipping.log.exists()


async def test_nothing_is_deleted_that_a_sink_has_not(envoy, sinks, shipping):
    sinks.costs.fails = True
    shipping.start()
    log = RecordLog(shipping.log)
    ids = []
    while len(log.set_aside()) < 3:
        ids += await call(envoy, 50)
    await eventually_async(lambda: len(sinks.exposures.seen) >= len(ids), within=60)
    shipping.kill()
    shipping.start()
    kept = log.set_aside()
    assert len(kept) >= 3
    sinks.costs.fails = False
    await eventually_async(lambda: set(ids) <= set(sinks.costs.seen), within=60)
    await eventually_async(lambda: not log.set_aside(), within=60)


async def test_envoy_may_die_with_a_file_set_aside(envoy, sinks, shipping):
    ids = await call(envoy, 200)
    log = RecordLog(shipping.log)
    await eventually_async(lambda: shipping.log.stat().st_size > ROTATE_BYTES)
    shipping.start()
    await eventually_async(lambda: set(ids) <= set(sinks.costs.seen), within=60)
    envoy.kill("envoy")
    envoy.wait_ready("envoy")
    ids += await call(envoy, 200)
    await eventually_async(lambda: sinks.have(ids), within=60)
    await eventually_async(lambda: not log.set_aside(), within=60)
