"""Penstock's native path beside bare Triton and bare Envoy: `python -m benchmarks.native_path`.

Turns alternate, short ones, and one server serves all of them. A ratio is the median of each turn's own to its
neighbour's, since what else the machine does weighs on neighbours alike. Split, version rewrite, a chain of six
attempts, both logs and the inference counters are on; in every second block of turns 10,000 keys and limits too. Every
call must have succeeded: by the bytes that the client got, by Triton's own count, and by the records.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.native_path.load import NoLoad, answer_bytes, frame, median_latency, throughput
from benchmarks.native_path.servers import Servers, running

BLOCKS, TURNS = 5, 8
"""So many blocks of each kind, and turns in a block; a turn before the first warms up and does not count."""
CALLS = 3_000
LATENCY_CALLS = 400
TRITON, ENVOY, OPEN, GUARDED = "bare Triton", "bare Envoy", "Penstock", "with keys and limits"


@dataclass
class Seen:
    """Of one kind of block, turn by turn, by who was called: calls a second, and milliseconds at one in flight."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    times: dict[str, list[float]] = field(default_factory=dict)

    def ratio(self, ours: str, other: str) -> float:
        turns = zip(self.rates[ours], self.rates[other], strict=True)
        return round(statistics.median(one / another for one, another in turns), 3)

    def added(self, ours: str, other: str) -> float:
        turns = zip(self.times[ours], self.times[other], strict=True)
        return round(statistics.median(one - another for one, another in turns), 3)


def measure(servers: Servers, body: Path) -> dict[str, Seen]:
    seen = {OPEN: Seen(), GUARDED: Seen()}
    ports = {TRITON: servers.triton, ENVOY: servers.bare}
    answers = {port: answer_bytes(port, body) for port in (*ports.values(), servers.penstock)}
    for _ in range(BLOCKS):
        for ours, found in seen.items():
            servers.guard(on=ours == GUARDED)
            for turn in range(TURNS + 1):
                for name, port in {**ports, ours: servers.penstock}.items():
                    rate = throughput(port, body, CALLS, answers[port])
                    latency = median_latency(port, body, LATENCY_CALLS)
                    if turn:
                        found.rates.setdefault(name, []).append(rate)
                        found.times.setdefault(name, []).append(latency)
    return seen


def table(seen: dict[str, Seen]) -> None:
    turns = BLOCKS * TURNS
    print(f"{'':24} {'calls/s':>9} {'least':>7} {'most':>7} {'p50 at 1 in flight':>19}   medians of {turns} turns")
    whose = {TRITON: OPEN, ENVOY: OPEN, OPEN: OPEN, GUARDED: GUARDED}
    for name, kind in whose.items():
        rates, times = seen[kind].rates[name], seen[kind].times[name]
        rate = f"{statistics.median(rates):9.0f} {min(rates):7.0f} {max(rates):7.0f}"
        print(f"{name:24} {rate} {statistics.median(times):16.3f} ms")


def figures(found: Seen, ours: str, prefix: str = "") -> dict[str, float]:
    return {
        f"{prefix}ratio_to_bare_triton": found.ratio(ours, TRITON),
        f"{prefix}ratio_to_bare_envoy": found.ratio(ours, ENVOY),
        f"{prefix}added_p50_ms": found.added(ours, TRITON),
    }


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, running(Path(folder)) as servers:
        body = frame("bench", Path(folder) / "frame")
        to_each = 1 + 2 * BLOCKS * (TURNS + 1) * (CALLS + LATENCY_CALLS)
        try:
            seen = measure(servers, body)
            print(servers.agree(through_penstock=to_each, to_triton=3 * to_each))
        except NoLoad as fault:
            print(fault, file=sys.stderr)
            return 1
    table(seen)
    print(json.dumps({**figures(seen[OPEN], OPEN), **figures(seen[GUARDED], GUARDED, "with_keys_")}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
