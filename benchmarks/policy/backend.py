"""Answers every inference with nothing: who is asked to answer is what is measured, not the answer."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc


async def main(address: str) -> None:
    async def infer(_: bytes, __: Any) -> bytes:
        return b""

    methods = {"ModelInfer": grpc.unary_unary_rpc_method_handler(infer)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
