"""A real server with every interceptor: statuses, health, masking, reflection; and a watcher that never reads."""

import asyncio

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from libs import identity
from libs.channels import open_channel
from libs.errors import NotFound
from libs.health import HealthServicer
from libs.interceptors import ServiceInterceptor
from libs.paging import page
from libs.statuses import from_sibling, reason_of
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1 import routing_service_pb2_grpc as rpc
from penstock.routing.v1.route_pb2 import Route


class Servicer(rpc.RoutingServiceServicer):
    async def ListProxies(self, request, context):
        asked = page(request.page_size, request.page_token)
        _, token = asked.split(["a", "b"], lambda name: (name,))
        return pb.ListProxiesResponse(next_page_token=token)

    async def GetRoute(self, request, context):
        if request.model == "missing":
            raise NotFound("ROUTE_NOT_FOUND", "no route for 'missing'", model="missing")
        if request.model == "bug":
            raise RuntimeError("SELECT secret FROM table")
        if request.model == "abort":
            await context.abort(grpc.StatusCode.DATA_LOSS, "on purpose")
        if request.model == "abort with trailers":
            more = [("x-penstock-long", "v" * 70_000), *((f"x-penstock-{n}", "v" * 40) for n in range(5_000))]
            await context.abort(grpc.StatusCode.DATA_LOSS, "on purpose", (("x-penstock-first", "kept"), *more))
        if request.model.startswith("abort é"):
            await context.abort(grpc.StatusCode.DATA_LOSS, request.model)
        if request.model.startswith("abort with é"):
            await context.abort_with_status(rpc_status.to_status(Status(code=15, message=request.model)))
        if request.model.startswith("long é"):
            raise NotFound("ROUTE_NOT_FOUND", f"no route for {request.model!r}", model=request.model)
        return pb.GetRouteResponse(route=Route(model=identity.caller().tenant))


async def take(requests, context):
    """Counts: a stream of requests with one answer."""
    return pb.GetRouteResponse(route=Route(max_retries=len([request async for request in requests])))


async def both(requests, context):
    async for request in requests:
        yield pb.GetRouteResponse(route=Route(model=request.model))


def shapes():
    """The two shapes that RoutingService has not."""
    ends = (pb.GetRouteRequest.FromString, pb.GetRouteResponse.SerializeToString)
    handlers = {
        "Take": grpc.stream_unary_rpc_method_handler(take, *ends),
        "Both": grpc.stream_stream_rpc_method_handler(both, *ends),
    }
    return grpc.method_handlers_generic_handler("shapes", handlers)


@pytest.fixture
async def server():
    health = HealthServicer(["penstock.routing.v1.RoutingService"])
    server = grpc.aio.server(interceptors=[ServiceInterceptor()])
    rpc.add_RoutingServiceServicer_to_server(Servicer(), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_generic_rpc_handlers((shapes(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = open_channel(f"127.0.0.1:{port}")
    yield health, channel
    await channel.close()
    await server.stop(0)


async def failure(channel, model):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await rpc.RoutingServiceStub(channel).GetRoute(pb.GetRouteRequest(model=model))
    return raised.value


async def test_our_errors_carry_their_reason(server):
    error = await failure(server[1], "missing")
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert reason_of(error) == "ROUTE_NOT_FOUND"
    info = ErrorInfo()
    assert rpc_status.from_call(error).details[0].Unpack(info)
    assert info.metadata == {"model": "missing"}
    again = from_sibling(error, "routing")
    assert isinstance(again, NotFound)
    assert again.message == "no route for 'missing'"


async def test_a_fault_of_ours_keeps_its_text_to_itself(server):
    error = await failure(server[1], "bug")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.details()
    assert reason_of(error) == "INTERNAL"


async def test_an_abort_passes(server):
    error = await failure(server[1], "abort")
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "on purpose")


@pytest.mark.parametrize("start", ["long ", "abort ", "abort with "])
async def test_a_long_text_of_a_request_comes_back_cut_and_spares_the_connection(server, start):
    other = health_pb2_grpc.HealthStub(server[1]).Watch(health_pb2.HealthCheckRequest())
    await other.read()
    error = await failure(server[1], start + "é" * 70_000)
    assert error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.DATA_LOSS)
    assert len(error.details().encode()) <= 1024
    assert error.details().endswith("…")
    assert not other.done()
    other.cancel()


async def test_trailers_of_an_abort_are_those_for_which_there_is_room(server):
    error = await failure(server[1], "abort with trailers")
    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "on purpose")
    kept = [(key, value) for key, value in error.trailing_metadata() if key.startswith("x-penstock-")]
    assert kept[0] == ("x-penstock-first", "kept")
    assert 2 < len(kept) < 20
    assert all(value in ("kept", "v" * 40) for _, value in kept)


async def test_a_method_that_is_not_served_is_unimplemented(server):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await rpc.RoutingServiceStub(server[1]).ListRoutes(pb.ListRoutesRequest())
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_caller_is_who_the_trusted_headers_say(server):
    stub = rpc.RoutingServiceStub(server[1])
    answer = await stub.GetRoute(pb.GetRouteRequest(model="m"), metadata=[("x-penstock-tenant", "acme")])
    assert answer.route.model == "acme"
    assert (await stub.GetRoute(pb.GetRouteRequest(model="m"))).route.model == "local"


async def test_a_watcher_that_never_reads_stalls_nobody(server):
    health, channel = server
    stub = health_pb2_grpc.HealthStub(channel)
    stalled = stub.Watch(health_pb2.HealthCheckRequest())
    reader = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await reader.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    for serving in (True, False, True):
        health.set_serving(serving)
    assert (await asyncio.wait_for(reader.read(), 5)).status == health_pb2.HealthCheckResponse.SERVING
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    stalled.cancel()
    reader.cancel()


async def test_the_health_of_a_service_that_is_not_here_is_not_found(server):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await health_pb2_grpc.HealthStub(server[1]).Check(health_pb2.HealthCheckRequest(service="n" * 70_000))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert len(raised.value.details()) < 100


async def test_a_token_is_bound_to_the_method_that_made_it(server):
    stub = rpc.RoutingServiceStub(server[1])
    token = (await stub.ListProxies(pb.ListProxiesRequest(page_size=1))).next_page_token
    assert (await stub.ListProxies(pb.ListProxiesRequest(page_size=1, page_token=token))).next_page_token == token
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.ListProxies(pb.ListProxiesRequest(page_token=page(1, "").split("ab", tuple)[1]))
    assert reason_of(raised.value) == "INVALID_PAGE_TOKEN"


MALFORMED = b"\xff\xff"


def raw_calls(channel):
    """Each method of each shape, given bytes as they are."""
    routing, shapes = "/penstock.routing.v1.RoutingService/", "/shapes/"
    return {
        "unary": channel.unary_unary(routing + "GetRoute")(MALFORMED),
        "its answers stream": channel.unary_stream("/grpc.health.v1.Health/Watch")(MALFORMED),
        "its requests stream": channel.stream_unary(shapes + "Take")(iter([b"", MALFORMED])),
        "both stream": channel.stream_stream(shapes + "Both")(iter([b"", MALFORMED])),
    }


@pytest.mark.parametrize("shape", ["unary", "its answers stream", "its requests stream", "both stream"])
async def test_bytes_that_are_no_message_are_the_callers_fault(server, shape):
    call = raw_calls(server[1])[shape]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        if hasattr(call, "read"):
            while await call.read() is not grpc.aio.EOF:
                pass
        else:
            await call
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details() == "not a message of the type that this method takes"
    assert reason_of(raised.value) == "INVALID_REQUEST"
