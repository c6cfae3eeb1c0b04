"""Takes Envoy's signals and drops them: the stream has a reader, the benchmark has no other service to pay for."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

METHOD = "StreamAccessLogs"


async def main(address: str) -> None:
    async def drop(messages: Any, _: Any) -> bytes:
        async for _ in messages:
            pass
        return b""

    handler = grpc.method_handlers_generic_handler(
        "envoy.service.accesslog.v3.AccessLogService", {METHOD: grpc.stream_unary_rpc_method_handler(drop)}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
