"""Callers at a fixed pace, without retries: each call's start, duration and end are kept."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
from tritonclient.grpc import service_pb2 as pb

INFER = "/inference.GRPCInferenceService/ModelInfer"
KEY = "PENSTOCK_API_KEY"
CALLERS = 32
CALLS_A_SECOND = 200
DEADLINE_SECONDS = 10.0
WIDTH = 4


@dataclass(frozen=True)
class Call:
    """`start` in seconds of time.monotonic(), which all processes share; `code` is gRPC's."""

    start: float
    seconds: float
    code: str
    text: str


@contextlib.contextmanager
def calling(address: str, model: str, key: str) -> Iterator[list[Call]]:
    """For the length of the block, in a process of their own; all of their calls are in the list afterwards."""
    command = sys.executable, "-m", "benchmarks.faults.callers", address, model
    environment = {**os.environ, KEY: key}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    calls: list[Call] = []
    try:
        yield calls
    finally:
        told, _ = process.communicate("\n", timeout=4 * DEADLINE_SECONDS)
        calls += [Call(*each) for each in json.loads(told)]


def p(calls: Sequence[Call], percentile: int) -> float:
    """Milliseconds, of the calls that were answered well."""
    seconds = [call.seconds for call in calls if call.code == "OK"]
    return statistics.quantiles(seconds, n=100, method="inclusive")[percentile - 1] * 1000


async def main(address: str, model: str) -> None:
    request = pb.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="X", datatype="FP32")
    tensor.shape.extend([1, WIDTH])
    request.raw_input_contents.append(bytes(4 * WIDTH))
    message = request.SerializeToString()
    key = ("x-penstock-api-key", os.environ[KEY])
    calls: list[Call] = []
    numbers = itertools.count()
    ending = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))

    async def caller(n: int) -> None:
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        due = time.monotonic() + n / CALLS_A_SECOND
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            infer = channel.unary_unary(INFER)
            while not ending.done():
                # one that hangs delays its own caller only, and does not make up for it afterwards
                due = max(due + CALLERS / CALLS_A_SECOND, time.monotonic() - CALLERS / CALLS_A_SECOND)
                await asyncio.sleep(due - time.monotonic())
                start, code, text = time.monotonic(), "OK", ""
                try:
                    unit = ("x-penstock-routing-key", f"u-{next(numbers)}")
                    await infer(message, timeout=DEADLINE_SECONDS, metadata=[key, unit])
                except grpc.aio.AioRpcError as error:
                    code, text = error.code().name, error.details() or ""
                calls.append(Call(start, time.monotonic() - start, code, text))

    await asyncio.gather(*(caller(n) for n in range(CALLERS)))
    sys.stdout.write(json.dumps([[c.start, c.seconds, c.code, c.text] for c in calls]))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
