"""Penstock's native path beside bare Triton and bare Envoy: `python -m benchmarks.native_path`.

Rounds alternate, one server serves all of them. A ratio is the median of each round's own, since what else the machine
does weighs on neighbours alike. Split, version rewrite, a chain of six attempts, both logs and the inference counters
are on; in a row of its own, 10,000 keys and limits too. Every call must have succeeded: by the bytes that the client
got, by Triton's own count, and by the records.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.native_path.load import NoLoad, answer_bytes, frame, median_latency, throughput
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
    answers = {name: answer_bytes(port, body) for name, port in ports.items()}
    for n in range(ROUNDS + 1):
        for name, port in ports.items():
            if port == servers.penstock:
                servers.guard(on=name == GUARDED)
            rate = throughput(port, body, CALLS, answers[name])
            latency = median_latency(port, body, LATENCY_CALLS)
            if n:
                rates[name].append(rate)
                times[name].append(latency)
    return rates, times


def ratio(rates: Rounds, ours: str, other: str) -> float:
    rounds = zip(rates[ours], rates[other], strict=True)
    return round(statistics.median(one / another for one, another in rounds), 3)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, running(Path(folder)) as servers:
        body = frame("bench", Path(folder) / "frame")
        each = 1 + (ROUNDS + 1) * (CALLS + LATENCY_CALLS)
        try:
            rates, times = measure(servers, body)
            print(servers.agree(through_penstock=2 * each, to_triton=4 * each))
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
