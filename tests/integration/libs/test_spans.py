"""Spans of a real server, as an exporter gets them."""

import asyncio
from contextlib import suppress

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import REGISTRY

from libs.errors import NotFound, Unavailable
from libs.health import HealthServicer
from libs.interceptors import interceptors
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1 import routing_service_pb2_grpc as rpc
from tests.polling import eventually_async

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
SAMPLED = ("traceparent", f"00-{TRACE}-{CALLER}-01")


class Servicer(rpc.RoutingServiceServicer):
    def __init__(self):
        self.entered = asyncio.Event()

    async def GetRoute(self, request, context):
        if request.model == "missing":
            raise NotFound("ROUTE_NOT_FOUND", "no route for 'missing'", model="missing")
        if request.model == "down":
            raise Unavailable("STORE_UNAVAILABLE", "the store is away")
        if request.model == "bug":
            raise RuntimeError("a fault")
        if request.model == "slow":
            self.entered.set()
            await asyncio.Event().wait()
        return pb.GetRouteResponse()


@pytest.fixture
async def traced():
    """The exporter, the servicer, and a channel without tracing of its own."""
    exporter, servicer = InMemorySpanExporter(), Servicer()
    provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    server = grpc.aio.server(interceptors=interceptors(provider))
    rpc.add_RoutingServiceServicer_to_server(servicer, server)
    health = HealthServicer([])
    health.set_serving(True)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield exporter, servicer, channel
    await server.stop(0)


async def span_of(exporter, channel, model, metadata=()):
    """The only span that a call leaves, once the server has ended it."""
    with suppress(grpc.aio.AioRpcError):
        await rpc.RoutingServiceStub(channel).GetRoute(pb.GetRouteRequest(model=model), metadata=metadata, timeout=5)
    (span,) = await eventually_async(exporter.get_finished_spans)
    return span


async def test_a_call_is_a_span_of_the_callers_trace_and_names_its_request(traced):
    exporter, _, channel = traced
    span = await span_of(exporter, channel, "m", [SAMPLED, ("x-request-id", "r-1")])
    assert (span.name, span.kind) == ("/penstock.routing.v1.RoutingService/GetRoute", SpanKind.SERVER)
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == CALLER
    assert span.attributes["penstock.request_id"] == "r-1"
    assert span.attributes["rpc.grpc.status_code"] == 0
    assert span.status.status_code is StatusCode.UNSET


async def test_a_long_request_id_is_cut(traced):
    exporter, _, channel = traced
    span = await span_of(exporter, channel, "m", [("x-request-id", "r" * 5000)])
    assert len(span.attributes["penstock.request_id"].encode()) == 128


async def test_a_call_without_a_request_id_has_none(traced):
    exporter, _, channel = traced
    assert "penstock.request_id" not in (await span_of(exporter, channel, "m")).attributes


@pytest.mark.parametrize(
    ("model", "code", "status"),
    [
        ("missing", grpc.StatusCode.NOT_FOUND, StatusCode.UNSET),
        ("down", grpc.StatusCode.UNAVAILABLE, StatusCode.ERROR),
        ("bug", grpc.StatusCode.INTERNAL, StatusCode.ERROR),
    ],
)
async def test_a_span_says_how_the_call_ended_and_only_our_own_faults_are_errors(traced, model, code, status):
    exporter, _, channel = traced
    span = await span_of(exporter, channel, model)
    assert span.attributes["rpc.grpc.status_code"] == code.value[0]
    assert span.status.status_code is status


async def test_a_call_that_its_caller_gave_up_is_counted_as_cancelled(traced):
    exporter, servicer, channel = traced
    labels = {"service": "penstock.routing.v1.RoutingService", "method": "GetRoute", "code": "CANCELLED"}
    before = REGISTRY.get_sample_value("penstock_rpc_duration_seconds_count", labels) or 0
    call = rpc.RoutingServiceStub(channel).GetRoute(pb.GetRouteRequest(model="slow"), timeout=60)
    await asyncio.wait_for(servicer.entered.wait(), 5)
    call.cancel()
    (span,) = await eventually_async(exporter.get_finished_spans)
    assert span.attributes["rpc.grpc.status_code"] == grpc.StatusCode.CANCELLED.value[0]
    assert REGISTRY.get_sample_value("penstock_rpc_duration_seconds_count", labels) == before + 1


async def test_probes_make_no_spans(traced):
    exporter, _, channel = traced
    await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), metadata=[SAMPLED], timeout=5)
    await span_of(exporter, channel, "m")
