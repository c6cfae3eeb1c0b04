"""Load at C speed by h2load, which does not look at gRPC statuses.

It counts the bytes of answers, though, and a failure has none: as many as so many OK answers have is that many OK ones.
The servers' own counts are for whoever calls it.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

INFER = "/inference.GRPCInferenceService/ModelInfer"
CONNECTIONS, STREAMS = 4, 8
FRAME = 5
"""Bytes before a message of gRPC."""
KEY = f"penstock_{'bench' * 2}24_{'s' * 32}"
"""Sent with every call; who does not ask for one does not look at it."""
METADATA = ("x-penstock-routing-key", "passenger-1"), ("x-penstock-api-key", KEY)


class NoLoad(Exception):
    """h2load is missing or did not complete what was asked."""


def frame(model: str, path: Path) -> Path:
    """One gRPC frame with a tensor of four floats."""
    request = pb.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="X", datatype="FP32")
    tensor.shape.extend([1, 4])
    request.raw_input_contents.append(np.ones(4, np.float32).tobytes())
    message = request.SerializeToString()
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return path


def answer_bytes(port: int, body: Path) -> int:
    """Bytes of the answer to one call, which this makes, as h2load counts them. Raises NoLoad unless it is OK."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(INFER)
        try:
            return len(call(body.read_bytes()[FRAME:], metadata=METADATA, timeout=60, wait_for_ready=True)) + FRAME
        except grpc.RpcError as fault:
            raise NoLoad(f"a call to port {port} failed: {fault}") from fault


def throughput(
    port: int, body: Path, calls: int, answer: int, *, connections: int = CONNECTIONS, streams: int = STREAMS
) -> float:
    """Calls a second, with `connections` times `streams` of them in flight and `answer` bytes in each OK answer.

    Raises NoLoad unless all are OK.
    """
    said = _h2load(port, body, calls, connections, streams)
    rate, got = re.search(r"([\d.]+) req/s", said), re.search(r"\((\d+)\) data", said)
    if rate is None or got is None or int(got[1]) != calls * answer:
        raise NoLoad(f"{calls} answers of {answer} bytes were expected:\n{said}")
    return float(rate[1])


def median_latency(port: int, body: Path, calls: int) -> float:
    """Milliseconds at one in flight."""
    with tempfile.NamedTemporaryFile(suffix=".tsv") as log:
        _h2load(port, body, calls, 1, 1, f"--log-file={log.name}")
        times = [int(line.split("\t")[2]) for line in Path(log.name).read_text().splitlines()]
    return statistics.median(times) / 1000


def _h2load(port: int, body: Path, calls: int, connections: int, streams: int, *more: str) -> str:
    program = shutil.which("h2load")
    if program is None:
        raise NoLoad(
            "h2load is not installed: it comes with the package nghttp2-client (apt-get install nghttp2-client)"
        )
    headers = ("content-type: application/grpc", "te: trailers", *(f"{name}: {value}" for name, value in METADATA))
    done = subprocess.run(
        [
            program,
            f"--requests={calls}",
            f"--clients={connections}",
            f"--max-concurrent-streams={streams}",
            f"--data={body}",
            *(f"--header={header}" for header in headers),
            *more,
            f"http://127.0.0.1:{port}{INFER}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    if f"{calls} succeeded" not in done.stdout:
        raise NoLoad(done.stdout)
    return done.stdout
