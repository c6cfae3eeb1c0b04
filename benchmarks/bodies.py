"""Bodies from 1 KB to 64 MiB through Penstock and through a bare Envoy: `python -m benchmarks.bodies`.

Rounds alternate, one Triton serves both. Penstock keeps a body back until it is whole, reads its names and writes a
version behind them; a bare Envoy passes on what it has. Four calls are under way at a time. Every call must have
succeeded: by Triton's own count, and by the records.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb

from benchmarks.native_path.load import NoLoad, throughput
from benchmarks.native_path.servers import Servers, running

ROUNDS = 5
IN_FLIGHT = 4
KIB, MIB = 1 << 10, 1 << 20
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
    return max(8, min(4000, 256 * MIB // size))


def body(size: int, folder: Path) -> Path:
    """A frame with a tensor of so many bytes."""
    request = pb.ModelInferRequest(model_name="bench")
    tensor = request.inputs.add(name="X", datatype="UINT8")
    tensor.shape.append(size)
    request.raw_input_contents.append(bytes(size))
    message = request.SerializeToString()
    path = folder / f"body-{size}"
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


def measure(servers: Servers, folder: Path) -> tuple[dict[str, float], dict[str, int]]:
    """By size: the median of the rounds' ratios, and Envoy's resident memory in MiB after them."""
    envoy = psutil.Process(servers.stack.pid("envoy"))
    ratios: dict[str, float] = {}
    memory: dict[str, int] = {}
    sent = 0
    for name, size in SIZES.items():
        file, calls, rounds = body(size, folder), calls_of(size), []
        for n in range(ROUNDS + 1):
            bare = throughput(servers.bare, file, calls, connections=IN_FLIGHT, streams=1)
            ours = throughput(servers.penstock, file, calls, connections=IN_FLIGHT, streams=1)
            sent += calls
            if n:
                rounds.append(ours / bare)
        ratios[name] = round(statistics.median(rounds), 3)
        memory[name] = envoy.memory_info().rss // MIB
        print(
            f"{name:>7} {calls:6} calls a round   {ratios[name]:6.3f} of bare Envoy   Envoy holds {memory[name]:5} MiB"
        )
    time.sleep(0.5)  # Envoy flushes its records every 0.1 s
    recorded = servers.recorded()
    if recorded != {0: sent}:
        raise NoLoad(f"{sent} calls were sent: {dict(recorded)} recorded")
    return ratios, memory


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, running(Path(folder)) as servers:
        replace_model(servers)
        before = servers.succeeded()
        try:
            ratios, memory = measure(servers, Path(folder))
        except NoLoad as fault:
            print(fault, file=sys.stderr)
            return 1
        print(f"Triton counts {servers.succeeded() - before} successes, Penstock's records {dict(servers.recorded())}")
    figures = {f"ratio_to_bare_envoy_{name.replace(' ', '_').lower()}": ratio for name, ratio in ratios.items()}
    print(json.dumps({**figures, "envoy_rss_mib": max(memory.values())}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
