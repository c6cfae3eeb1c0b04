"""What callers notice of faults: `python -m benchmarks.faults [SECONDS]`, a minute for each by default.

The whole stack; two servers serve the model, one of them through a proxy that goes wrong when it is told to. Callers
are paced, show a key and never retry. Parts of the control plane are killed (-9) and held down; then the server goes
wrong in three ways.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.faults import server as faults
from benchmarks.faults.callers import CALLS_A_SECOND, Call, calling, p
from benchmarks.faults.fleet import MODEL, await_servers, key_of, penstock_of, serve
from deploy.local import parts
from deploy.local.places import Places
from deploy.local.ports import Ports, holds_nobody
from deploy.local.stack import Stack
from penstock_client import Penstock

NORMAL_SECONDS = 20.0
GRACE_SECONDS = 10.0
"""By then the 99th percentile is to be under twice the normal."""
DOWN = (("routing",), ("postgres",), ("redis",), ("routing", "postgres", "redis"))
WRONG = (faults.HALF, faults.HANGING, faults.SLOW)


@dataclass(frozen=True)
class Row:
    """Milliseconds; calls and failures while the fault lasted, and the second in which the last failed call began."""

    fault: str
    calls: int
    failed: int
    normal_p50: float
    normal_p99: float
    first_p99: float
    later_p50: float
    later_p99: float
    last_failure_s: float
    ends: dict[str, int]


def during(stack: Stack, fault: str, begin: Callable[[], None], end: Callable[[], None], seconds: float) -> Row:
    """Normal for a while, then the fault; `end` mends it."""
    with calling(stack.address("ingress"), MODEL, key_of(stack)) as calls:
        time.sleep(NORMAL_SECONDS)
        begun = time.monotonic()
        begin()
        time.sleep(max(0.0, begun + seconds - time.monotonic()))
        ended = time.monotonic()
        end()
    # the first seconds open connections
    normal = [call for call in calls if begun - NORMAL_SECONDS * 0.75 < call.start < begun - 1]
    faulty = [call for call in calls if begun <= call.start < ended]
    return row(fault, normal, faulty, begun)


def row(fault: str, normal: Sequence[Call], faulty: Sequence[Call], begun: float) -> Row:
    first = [call for call in faulty if call.start < begun + GRACE_SECONDS]
    later = [call for call in faulty if call.start >= begun + GRACE_SECONDS]
    failed = [call for call in faulty if call.code != "OK"]
    return Row(
        fault,
        len(faulty),
        len(failed),
        p(normal, 50),
        p(normal, 99),
        p(first, 99),
        p(later, 50),
        p(later, 99),
        max((call.start - begun for call in failed), default=0.0),
        dict(Counter(f"{call.code}: {call.text}" for call in failed)),
    )


def kill(stack: Stack, names: Sequence[str]) -> None:
    for name in names:
        stack.hold(name, kill=True)


def bring_back(stack: Stack, penstock: Penstock, names: Sequence[str]) -> None:
    for name in names:
        stack.release(name)
    for name in names:
        stack.wait_ready(name)
    await_servers(penstock)


def measure(seconds: float) -> Iterator[Row]:
    with running() as (stack, penstock, server):
        for names in DOWN:
            begin, end = partial(kill, stack, names), partial(bring_back, stack, penstock, names)
            yield during(stack, f"{' '.join(names)} down", begin, end, seconds)
        for how in WRONG:
            begin, end = partial(server.become, how), partial(server.become, faults.WELL)
            yield during(stack, f"a server {how}", begin, end, seconds)
            await_servers(penstock)


@contextmanager
def running() -> Iterator[tuple[Stack, Penstock, faults.FaultyServer]]:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        stack = Stack(Places.of(Path(folder)), Ports.free(), parts.ALL, durable=False)
        try:
            stack.start()
            free = next(port for port in range(32_000, 32_500) if holds_nobody(port))
            triton = stack.address("triton_b_grpc")
            with (
                faults.faulty_server(f"127.0.0.1:{free}", triton) as server,
                penstock_of(stack) as penstock,
            ):
                serve(stack, penstock, server.address)
                yield stack, penstock, server
        finally:
            stack.stop()
            stack.remove()


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    print(f"{CALLS_A_SECOND} calls a second without retries; each fault {seconds:g} s; times in ms")
    print(f"first: the fault's first {GRACE_SECONDS:g} s; later: from then on")
    show("", ("calls", "failed", "p50", "p99", "p99 first", "p50 later", "p99 later", "last fail"))
    figures: dict[str, float] = {}
    for found in measure(seconds):
        times = (found.normal_p50, found.normal_p99, found.first_p99, found.later_p50, found.later_p99)
        counts = (f"{found.calls:,}", f"{found.failed:,}")
        show(found.fault, (*counts, *(f"{ms:.1f}" for ms in times), f"{found.last_failure_s:.1f} s"))
        for end, count in found.ends.items():
            show("", (f"{count:,}", f"  {end}"))
        name = found.fault.replace(" ", "_")
        figures[f"{name}_error_rate"] = round(found.failed / found.calls, 5)
        figures[f"{name}_p99_ratio"] = round(found.later_p99 / found.normal_p99, 2)
    print(json.dumps(figures))
    return 0


def show(fault: str, cells: Sequence[str]) -> None:
    print(f"{fault:30}" + "".join(f"{cell:>11}" for cell in cells), flush=True)


if __name__ == "__main__":
    sys.exit(main())
