"""Whether ten thousand routes make a call slower than ten do: `python -m benchmarks.many_routes`.

Rounds alternate between the two policies in one Envoy, each beside a bare Envoy in the same moment. Every route has a
split, a fallback and pinned versions. Every call must have succeeded, by the records.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.native_path.load import NoLoad, frame, throughput
from benchmarks.native_path.servers import Servers, apply, policy, running
from services.routing.domain.policy import Allocation, Deployment, Inputs, ModelVersion, Range, Route
from services.routing.domain.snapshot import Snapshot
from services.routing.xds.resources import compile_snapshot

ROUNDS = 7
CALLS = 12_000
FEW, MANY = 10, 10_000
MIB = 1 << 20


def with_routes(inputs: Inputs, count: int) -> Snapshot:
    """The benchmark's own route, and others up to `count`."""
    names = [f"model-{n:05}" for n in range(count - 1)]
    others = (Range(0, 2500, "control", "1"), Range(5000, 7500, "treatment", "2"))
    return compile_snapshot(
        replace(
            inputs,
            deployments=(
                *inputs.deployments,
                *(Deployment(name, v, ("a",)) for name in names for v in ("1", "2", "3")),
            ),
            routes=(*inputs.routes, *(Route(name, "1", (ModelVersion(name, "3"),)) for name in names)),
            allocations=(*inputs.allocations, *(Allocation(f"e-{name}", name, name, others) for name in names)),
        )
    )


def measure(servers: Servers, body: Path) -> tuple[dict[int, list[float]], dict[int, int]]:
    """By number of routes: each round's ratio to the bare Envoy, and Envoy's resident memory in MiB."""
    envoy = psutil.Process(servers.stack.pid("envoy"))
    snapshots = {count: with_routes(policy(servers.triton), count) for count in (FEW, MANY)}
    ratios: dict[int, list[float]] = {FEW: [], MANY: []}
    memory: dict[int, int] = {}
    for n in range(ROUNDS + 1):
        for count, snapshot in snapshots.items():
            apply(servers.ads, snapshot)
            bare, ours = throughput(servers.bare, body, CALLS), throughput(servers.penstock, body, CALLS)
            memory[count] = max(memory.get(count, 0), envoy.memory_info().rss // MIB)
            if n:
                ratios[count].append(ours / bare)
    time.sleep(0.5)  # Envoy flushes its records every 0.1 s
    recorded, sent = servers.recorded(), 2 * (ROUNDS + 1) * CALLS
    if recorded != {0: sent}:
        raise NoLoad(f"{sent} calls were sent: {dict(recorded)} recorded")
    return ratios, memory


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, running(Path(folder)) as servers:
        try:
            ratios, memory = measure(servers, frame("bench", Path(folder) / "frame"))
        except NoLoad as fault:
            print(fault, file=sys.stderr)
            return 1
    for count, found in ratios.items():
        ratio = f"{statistics.median(found):.3f} of bare Envoy ({min(found):.3f} to {max(found):.3f})"
        print(f"{count:6} routes: {ratio}, Envoy holds {memory[count]} MiB")
    paired = [many / few for few, many in zip(ratios[FEW], ratios[MANY], strict=True)]
    print(json.dumps({"ratio_to_ten_routes": round(statistics.median(paired), 3), "envoy_rss_mib": memory[MANY]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
