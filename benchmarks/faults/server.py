"""A server that goes wrong when it is told to: a gRPC proxy before a real Triton, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import grpc

MESSAGE_BYTES = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
INFER = "/inference.GRPCInferenceService/ModelInfer"
SLOWER_SECONDS = 0.2
WELL, HALF, HANGING, SLOW = "well", "half", "hanging", "slow"
"""It fails every second inference with INTERNAL, accepts everything and answers nothing, or takes 200 ms longer."""


@dataclass
class FaultyServer:
    """From the outside."""

    address: str
    process: subprocess.Popen[str]

    def become(self, how: str) -> None:
        """Returns once it is so."""
        _pipe(self.process.stdin).write(f"{how}\n")
        _pipe(self.process.stdin).flush()
        if _pipe(self.process.stdout).readline().strip() != how:
            raise EOFError("the faulty server has ended")


@contextlib.contextmanager
def faulty_server(address: str, triton: str) -> Iterator[FaultyServer]:
    """Well at first."""
    command = sys.executable, "-m", "benchmarks.faults.server", address, triton
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    server = FaultyServer(address, process)
    try:
        server.become(WELL)
        yield server
    finally:
        process.terminate()
        process.wait(10)
        for pipe in (process.stdin, process.stdout):
            _pipe(pipe).close()


class _Proxy(grpc.GenericRpcHandler):
    """Every method of Triton's that has one request and one answer."""

    def __init__(self, triton: str) -> None:
        self.how = WELL
        self._changed = asyncio.Event()
        self._count = itertools.count()
        self._channel = grpc.aio.insecure_channel(triton, options=MESSAGE_BYTES)

    def become(self, how: str) -> None:
        self.how = how
        self._changed.set()
        self._changed = asyncio.Event()

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method

        async def call(request: bytes, context: Any) -> bytes:
            while self.how == HANGING:
                await self._changed.wait()
            if self.how == HALF and method == INFER and next(self._count) % 2:
                await context.abort(grpc.StatusCode.INTERNAL, "every second inference fails here")
            if self.how == SLOW:
                await asyncio.sleep(SLOWER_SECONDS)
            try:
                return await self._channel.unary_unary(method)(request, timeout=context.time_remaining() or 60)
            except grpc.aio.AioRpcError as error:
                await context.abort(error.code(), error.details())
                raise

        return grpc.unary_unary_rpc_method_handler(call)


async def main(address: str, triton: str) -> None:
    proxy = _Proxy(triton)
    server = grpc.aio.server(options=MESSAGE_BYTES)
    server.add_generic_rpc_handlers((proxy,))
    server.add_insecure_port(address)
    await server.start()
    while how := (await asyncio.to_thread(sys.stdin.readline)).strip():
        proxy.become(how)
        sys.stdout.write(f"{how}\n")
        sys.stdout.flush()


def _pipe(found: IO[str] | None) -> IO[str]:
    if found is None:
        raise EOFError("it has no such pipe")
    return found


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
