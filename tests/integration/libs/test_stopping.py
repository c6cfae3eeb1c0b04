"""A server stops although calls were aborted in it, also where nothing would ever collect garbage."""

import asyncio
import gc

import grpc
import pytest

from libs.channels import open_channel
from libs.errors import NotFound
from libs.interceptors import ServiceInterceptor
from libs.serve import stopped
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1 import routing_service_pb2_grpc as rpc


class Servicer(rpc.RoutingServiceServicer):
    async def GetRoute(self, request, context):
        raise NotFound("ROUTE_NOT_FOUND", "no route")


async def test_a_server_with_aborted_calls_stops():
    server = grpc.aio.server(interceptors=[ServiceInterceptor()])
    rpc.add_RoutingServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    gc.disable()
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError):
                    await rpc.RoutingServiceStub(channel).GetRoute(pb.GetRouteRequest(model="m"))
        await asyncio.wait_for(stopped(server, 0), 20)
    finally:
        gc.enable()
