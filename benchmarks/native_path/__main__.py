"""Penstock's native path beside bare Triton and bare Envoy: `python -m benchmarks.native_path`.

Rounds alternate, one server serves all of them. A ratio is the median of each round's own, since what else the machine
does weighs on neighbours alike. Split, version rewrite, a chain of six attempts, both logs and the inference counters
are on; in a row of its own, 10,000 keys and limits too. Every call must have succeeded: by Triton's own count, and by
the records.
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

ROUNDS = 15
CALLS = 12_000
LATENCY_CALLS = 1_000
OPEN, GUARDED = "Penstock", "with keys and limits"

Rounds = dict[str, list[float]]


def measure(servers: Servers, body: Path) -> tuple[Rounds, Rounds]:
    """Calls a second and milliseconds, by round. The first round warms up and does not count."""
    ports = {
        "bare Triton": servers.triton,
        "bare Envoy": servers.bare,
        OPEN: servers.penstock,
        GUARDED: servers.penstock,
    }
    rates: Rounds = {name: [] for name in ports}
    times: Rounds = {name: [] for name in ports}
    for n in range(ROUNDS + 1):
        for name, port in ports.items():
            if port == servers.penstock:
                servers.guard(on=name == GUARDED)
            rate, latency = throughput(port, body, CALLS), median_latency(port, body, LATENCY_CALLS)
            if n:
                rates[name].append(rate)
                times[name].append(latency)
    return rates, times


def ratio(rates: Rounds, ours: str, other: str) -> float:
    rounds = zip(rates[ours], rates[other], strict=True)
    return round(statistics.median(one / another for one, another in rounds), 3)


def check(servers: Servers, before: int) -> None:
    """Raises NoLoad unless every call was answered, and OK."""
    each = (ROUNDS + 1) * (CALLS + LATENCY_CALLS)
    time.sleep(0.5)  # Envoy flushes its records every 0.1 s
    recorded, counted = servers.recorded(), servers.succeeded() - before
    print(
        f"gRPC statuses of Penstock's calls, by its records: {dict(recorded)}; Triton counts {counted} successes in all"
    )
    if recorded != {0: 2 * each} or counted != 4 * each:
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
    print(f"{'':24} {'calls/s':>9} {'least':>7} {'most':>7} {'p50 at 1 in flight':>19}   medians of {ROUNDS} rounds")
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, found in rates.items():
        rate = f"{statistics.median(found):9.0f} {min(found):7.0f} {max(found):7.0f}"
        print(f"{name:24} {rate} {medians[name]:16.3f} ms")
    figures = {
        "ratio_to_bare_triton": ratio(rates, OPEN, "bare Triton"),
        "ratio_to_bare_envoy": ratio(rates, OPEN, "bare Envoy"),
        "added_p50_ms": round(medians[OPEN] - medians["bare Triton"], 3),
        "with_keys_ratio_to_bare_triton": ratio(rates, GUARDED, "bare Triton"),
        "with_keys_ratio_to_bare_envoy": ratio(rates, GUARDED, "bare Envoy"),
        "with_keys_added_p50_ms": round(medians[GUARDED] - medians["bare Triton"], 3),
    }
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
