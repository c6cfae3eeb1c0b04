"""Bodies from 1 KB to 64 MiB through Penstock and through a bare Envoy: `python -m benchmarks.bodies`.

Rounds alternate, one Triton serves all. Penstock keeps a body back until it is whole and reads its names; then it
writes a version behind them, where the split decides, and also where the caller has named one. A bare Envoy passes on
what it has. As many calls are under way as in `native_path`, yet never more than 256 MiB of them. Every call must have
succeeded: by the bytes that the client got, by Triton's own count, and by the records.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb

from benchmarks.native_path.load import CONNECTIONS, STREAMS, NoLoad, answer_bytes, throughput
from benchmarks.native_path.servers import Servers, apply, policy, running
from services.routing.xds.resources import compile_snapshot

ROUNDS = 5
KIB, MIB = 1 << 10, 1 << 20
IN_FLIGHT_BYTES = 256 * MIB
"""At most, of all calls under way."""
ROUND_BYTES = 512 * MIB
SIZES = {"1 KB": KIB, "64 KB": 64 * KIB, "1 MiB": MIB, "16 MiB": 16 * MIB, "64 MiB": 64 * MIB}
MODEL = """
import numpy as np, triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        sizes = [pb.get_input_tensor_by_name(r, "X").as_numpy().size for r in requests]
        return [pb.InferenceResponse([pb.Tensor("SIZE", np.array([size], np.int64))]) for size in sizes]
"""
CONFIG = """
name: "bench" backend: "python" max_batch_size: 0
version_policy { all {} }
input [{ name: "X" data_type: TYPE_UINT8 dims: [-1] }]
output [{ name: "SIZE" data_type: TYPE_INT64 dims: [1] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""


def calls_of(size: int) -> int:
    """A round moves about as many bytes for each size, within bounds."""
    return max(8, min(4000, ROUND_BYTES // size))


def streams_of(size: int) -> int:
    """Calls under way on each connection."""
    return min(STREAMS, IN_FLIGHT_BYTES // size // CONNECTIONS)


def body(size: int, version: str, folder: Path) -> Path:
    """A frame with a tensor of so many bytes; an empty version leaves the choice to the split."""
    request = pb.ModelInferRequest(model_name="bench", model_version=version)
    tensor = request.inputs.add(name="X", datatype="UINT8")
    tensor.shape.append(size)
    request.raw_input_contents.append(bytes(size))
    message = request.SerializeToString()
    path = folder / f"body-{size}-{version}"
    path.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
    return path


def replace_model(servers: Servers) -> None:
    """The benchmark's model by one that takes tensors of any length and answers shortly."""
    repository = servers.stack.repository("a") / "bench"
    (repository / "config.pbtxt").write_text(CONFIG)
    for version in ("1", "2", "3"):
        (repository / version / "model.py").write_text(MODEL)
    with triton.InferenceServerClient(servers.stack.address("triton_a_grpc")) as client:
        client.load_model("bench")


def be_patient(servers: Servers) -> None:
    """An attempt may take as long as 64 MiB take on a busy machine: one that is made again would be measured twice."""
    inputs = policy(servers.triton)
    routes = tuple(replace(route, retries=replace(route.retries, per_try_timeout=60.0)) for route in inputs.routes)
    apply(servers.ads, compile_snapshot(replace(inputs, routes=routes)))


def rounds(servers: Servers, size: int, folder: Path) -> tuple[float, float]:
    """The medians of the rounds' ratios to a bare Envoy: with a split, and with the version in the message."""
    calls, plain, pinned = calls_of(size), body(size, "", folder), body(size, "1", folder)
    ways = [(servers.bare, plain), (servers.penstock, plain), (servers.penstock, pinned)]
    answers = [answer_bytes(port, file) for port, file in ways]
    found: list[tuple[float, float]] = []
    for _ in range(ROUNDS + 1):
        bare, split, named = (
            throughput(port, file, calls, answer, streams=streams_of(size))
            for (port, file), answer in zip(ways, answers, strict=True)
        )
        found.append((split / bare, named / bare))
    plain.unlink()
    pinned.unlink()
    of_split, of_named = zip(*found[1:], strict=True)  # the first round warms up
    return round(statistics.median(of_split), 3), round(statistics.median(of_named), 3)


def measure(servers: Servers, folder: Path) -> dict[str, float]:
    """Prints a line for each size; the figures of all of them."""
    figures: dict[str, float] = {}
    sent = 0
    print(f"{'':>7} {'calls':>6} {'in flight':>10} {'split':>8} {'named':>8} {'Envoy at most':>14}   of bare Envoy")
    for name, size in SIZES.items():
        split, named = rounds(servers, size, folder)
        sent += 1 + (ROUNDS + 1) * calls_of(size)
        flight, peak = CONNECTIONS * streams_of(size) * size / MIB, servers.peak_mib()
        print(f"{name:>7} {calls_of(size):6} {flight:6.1f} MiB {split:8.3f} {named:8.3f} {peak:10} MiB", flush=True)
        key = name.replace(" ", "_").lower()
        figures |= {f"split_ratio_to_bare_envoy_{key}": split, f"named_ratio_to_bare_envoy_{key}": named}
    print(servers.agree(through_penstock=2 * sent, to_triton=3 * sent))
    return {**figures, "bytes_in_flight_mib": IN_FLIGHT_BYTES // MIB, "envoy_peak_rss_mib": servers.peak_mib()}


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, running(Path(folder)) as servers:
        replace_model(servers)
        be_patient(servers)
        try:
            figures = measure(servers, Path(folder))
        except NoLoad as fault:
            print(fault, file=sys.stderr)
            return 1
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
