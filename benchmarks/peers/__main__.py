"""Penstock's native path beside MLServer and KServe as plain servers: `python -m benchmarks.peers`.

The same client sends the same message to each, over ModelInfer, 32 at a time. Each runs the same arithmetic: a tensor
in, the same tensor out, in Python. Penstock is its Envoy with keys, limits, a split, a chain and both logs, and a
Triton behind it. Each peer runs with the settings that its documentation offers and without its line of log for each
call; the best of its plain ones counts. All share the same two cores, with the client.

Rounds alternate; a ratio is the median of each round's own. Every call must have succeeded: by the bytes that the
client got, by each server's own metrics, and by Envoy's records.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.native_path.load import NoLoad, answer_bytes, frame, throughput
from benchmarks.native_path.servers import Servers, running
from benchmarks.peers.servers import CORES, NotStarted, Peer, peers
from deploy.local.environments import SetUpFailed

ROUNDS = 7
CALLS = 12_000
PEERS_CALLS = 4_000
# enough connections for two servers on one port to get about as many each
CONNECTIONS, STREAMS = 16, 2


@dataclass
class Row:
    """One server with one setting, and its calls a second by round."""

    name: str
    port: int
    calls: int
    peer: Peer | None = None
    rates: list[float] = field(default_factory=list)

    @property
    def sent(self) -> int:
        """The rounds, one to warm up, and the call that showed how long an answer is."""
        return 1 + (ROUNDS + 1) * self.calls

    def ratio_to(self, other: Row) -> float:
        return round(statistics.median(ours / its for ours, its in zip(self.rates, other.rates, strict=True)), 2)

    def __str__(self) -> str:
        rates = f"{statistics.median(self.rates):9.0f} {min(self.rates):7.0f} {max(self.rates):7.0f}"
        return f"{self.name:36} {rates} {self.sent:8}"


def measure(rows: list[Row], body: Path) -> None:
    """The first round warms up and does not count."""
    answers = [answer_bytes(row.port, body) for row in rows]
    for n in range(ROUNDS + 1):
        for row, answer in zip(rows, answers, strict=True):
            rate = throughput(row.port, body, row.calls, answer, connections=CONNECTIONS, streams=STREAMS)
            if n:
                row.rates.append(rate)


def check(servers: Servers, rows: list[Row]) -> str:
    """A line that says so. Raises NoLoad unless each server counts what was sent to it, and OK."""
    for row in rows:
        if row.peer and row.peer.succeeded() != row.sent:
            raise NoLoad(f"{row.name}: {row.sent} calls were sent, it counts {row.peer.succeeded()} successes")
    to_triton = sum(row.sent for row in rows if row.peer is None)
    said = servers.agree(through_penstock=rows[0].sent, to_triton=to_triton)
    return f"{said}\nEach peer's own metrics count as many successes as calls were sent to it."


def compared(ours: Row, rows: list[Row]) -> dict[str, float]:
    """How many times the best of each kind Penstock carries: of plain servers, and of one for each core."""
    figures: dict[str, float] = {}
    for kind in ("MLServer", "KServe"):
        for plain, suffix in ((True, ""), (False, "_on_each_core")):
            of_kind = [row for row in rows if row.peer and row.peer.kind == kind and row.peer.plain == plain]
            best = max(of_kind, key=lambda row: statistics.median(row.rates))
            figures[f"ratio_to_{kind.lower()}{suffix}"] = ours.ratio_to(best)
            figures[f"{kind.lower()}{suffix}_calls_per_second"] = round(statistics.median(best.rates))
    return figures


def main() -> int:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # and so of every process that this starts
    try:
        with (
            tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder,
            peers(Path(folder)) as others,
            running(Path(folder)) as servers,
        ):
            servers.guard(on=True)
            rows = [
                Row("Penstock", servers.penstock, CALLS),
                Row("bare Envoy", servers.bare, CALLS),
                Row("bare Triton", servers.triton, CALLS),
                *(Row(f"{peer.kind}, {peer.setting}", peer.grpc, PEERS_CALLS, peer) for peer in others),
            ]
            measure(rows, frame("bench", Path(folder) / "frame"))
            print(check(servers, rows))
    except (NoLoad, NotStarted, SetUpFailed) as fault:
        print(fault, file=sys.stderr)
        return 1
    print(f"{'':36} {'calls/s':>9} {'least':>7} {'most':>7} {'calls':>8}   medians of {ROUNDS} rounds")
    print(*rows, sep="\n")
    ours = rows[0]
    rate = round(statistics.median(ours.rates))
    print(json.dumps({"calls_per_second": rate, **compared(ours, rows[1:])}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
