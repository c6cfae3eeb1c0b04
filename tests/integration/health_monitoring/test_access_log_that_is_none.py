"""Bytes that are no message of the access log stream are their sender's fault, and one line in the log."""

import logging

import grpc
import pytest
from envoy.service.accesslog.v3 import als_pb2

from libs.clock import SystemClock
from libs.interceptors import ServiceInterceptor
from services.health_monitoring.domain.allowance import Allowance
from services.health_monitoring.servers.access_log import SERVICE, AccessLogServicer


class Calls:
    def called(self, attempt, second):
        return True


async def test_malformed_bytes(caplog):
    server = grpc.aio.server(interceptors=[ServiceInterceptor()])
    AccessLogServicer(Calls(), SystemClock(), Allowance(1.0)).add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    good = als_pb2.StreamAccessLogsMessage().SerializeToString()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stream = channel.stream_unary(f"/{SERVICE}/StreamAccessLogs")
        with caplog.at_level(logging.INFO), pytest.raises(grpc.aio.AioRpcError) as raised:
            await stream(iter([good, b"\xff\xff\xff", good]))
        await stream(iter([good]))
    await server.stop(0)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (line,) = [record for record in caplog.records if record.name.startswith(("services", "libs"))]
    assert line.levelno == logging.WARNING
    assert line.exc_info is None
