"""Penstock's native path beside bare Triton and bare Envoy: `python -m benchmarks.native_path`.

Rounds alternate, medians are compared, one server serves all three. Split, version rewrite, a chain of six attempts,
both logs and the inference counters are on. Every call must have succeeded: by Triton's own count, and by the records.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.native_path.load import NoLoad, frame, median_latency, throughput
from benchmarks.native_path.servers import Servers, running

ROUNDS = 9
CALLS = 20_000
LATENCY_CALLS = 2_000


def measure(servers: Servers, body: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Medians of calls a second and of milliseconds. The first round warms up and does not count."""
    ports = {"bare Triton": servers.triton, "bare Envoy": servers.bare, "Penstock": servers.penstock}
    rates: dict[str, list[float]] = {name: [] for name in ports}
    times: dict[str, list[float]] = {name: [] for name in ports}
    for n in range(ROUNDS + 1):
        for name, port in ports.items():
            rate, latency = throughput(port, body, CALLS), median_latency(port, body, LATENCY_CALLS)
            if n:
                rates[name].append(rate)
                times[name].append(latency)
    return (
        {name: statistics.median(found) for name, found in rates.items()},
        {name: statistics.median(found) for name, found in times.items()},
    )


def check(servers: Servers, before: int) -> None:
    """Raises NoLoad unless every call was answered, and OK."""
    each = (ROUNDS + 1) * (CALLS + LATENCY_CALLS)
    time.sleep(0.5)  # Envoy flushes its records every 0.1 s
    recorded, counted = servers.recorded(), servers.succeeded() - before
    print(
        f"gRPC statuses of Penstock's calls, by its records: {dict(recorded)}; Triton counts {counted} successes in all"
    )
    if recorded != {0: each} or counted != 3 * each:
        raise NoLoad(f"{each} calls to each were sent: {recorded} recorded, {counted} succeeded")


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, running(Path(folder)) as servers:
        body = frame("bench", Path(folder) / "frame")
        before = servers.succeeded()
        try:
            rates, times = measure(servers, body)
            check(servers, before)
        except NoLoad as fault:
            print(fault, file=sys.stderr)
            return 1
    print(f"{'':12} {'calls/s':>9} {'p50 at 1 in flight':>19}   medians of {ROUNDS} alternating rounds")
    for name, rate in rates.items():
        print(f"{name:12} {rate:9.0f} {times[name]:16.3f} ms")
    figures = {
        "ratio_to_bare_triton": round(rates["Penstock"] / rates["bare Triton"], 3),
        "ratio_to_bare_envoy": round(rates["Penstock"] / rates["bare Envoy"], 3),
        "added_p50_ms": round(times["Penstock"] - times["bare Triton"], 3),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
