"""Whether ten thousand routes make a call slower than ten do: `python -m benchmarks.many_routes`.

Rounds alternate between the two policies in one Envoy, each beside a bare Envoy in the same moment. Every route has a
split, a fallback and pinned versions. Every call must have succeeded: by the bytes that the client got, by Triton's own
count, and by the records.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.native_path.load import NoLoad, answer_bytes, frame, throughput
from benchmarks.native_path.servers import Servers, apply, policy, running
from services.routing.domain.policy import Allocation, Deployment, Inputs, ModelVersion, Range, Route
from services.routing.domain.snapshot import Snapshot
from services.routing.xds.resources import compile_snapshot

ROUNDS = 7
CALLS = 12_000
SETTLING_CALLS = CALLS
FEW, MANY = 10, 10_000


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


def measure(servers: Servers, body: Path) -> dict[int, list[float]]:
    """By number of routes: each round's ratio to the bare Envoy."""
    snapshots = {count: with_routes(policy(servers.triton), count) for count in (FEW, MANY)}
    ratios: dict[int, list[float]] = {FEW: [], MANY: []}
    answers = {port: answer_bytes(port, body) for port in (servers.bare, servers.penstock)}
    for n in range(ROUNDS + 1):
        for count, snapshot in snapshots.items():
            apply(servers.ads, snapshot)
            # Envoy has yet to drop what it had before
            throughput(servers.penstock, body, SETTLING_CALLS, answers[servers.penstock])
            bare, ours = (throughput(port, body, CALLS, answer) for port, answer in answers.items())
            if n:
                ratios[count].append(ours / bare)
    turns = len(snapshots) * (ROUNDS + 1)
    to_bare, to_penstock = 1 + turns * CALLS, 1 + turns * (SETTLING_CALLS + CALLS)
    print(servers.agree(through_penstock=to_penstock, to_triton=to_bare + to_penstock))
    return ratios


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, running(Path(folder)) as servers:
        try:
            ratios = measure(servers, frame("bench", Path(folder) / "frame"))
        except NoLoad as fault:
            print(fault, file=sys.stderr)
            return 1
        peak = servers.peak_mib()
    for count, found in ratios.items():
        print(f"{count:6} routes: {statistics.median(found):.3f} of bare Envoy ({min(found):.3f} to {max(found):.3f})")
    paired = [many / few for few, many in zip(ratios[FEW], ratios[MANY], strict=True)]
    print(json.dumps({"ratio_to_ten_routes": round(statistics.median(paired), 3), "envoy_peak_rss_mib": peak}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
