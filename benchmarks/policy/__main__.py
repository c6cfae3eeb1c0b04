"""The policy at scale: `python -m benchmarks.policy`.

Routing's compilation and ADS server, and Penstock's Envoy with its keeper, with 10, 1,000 and 10,000 routes, as many
keys and limits, and 200 servers; each route has a split, a fallback, a mirror and pinned versions, each call a key. A
change is heard as the whole word of its owner, after Postgres and the watches, which are not here; it is effective when
a call through the ingress gets what it says. Calls to the changed model are sent 2 ms apart until then; each must
succeed. The server behind Envoy only says OK: who is asked is measured, not what it answers.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass

import grpc

from benchmarks.policy.servers import Running, running

SIZES = (10, 1_000, 10_000)
CHANGES = 200
APART_SECONDS = 0.05
CALLS_APART_SECONDS = 0.002
PATIENCE_SECONDS = 120.0
MIB = 1024 * 1024


@dataclass(frozen=True)
class Figures:
    """Of one number of routes. `ms` are medians, 99th percentiles where it says so; `calls` all succeeded."""

    routes: int
    full_compile_s: float
    full_compile_cpu_s: float
    in_force_s: float
    route_compile_ms: float
    split_compile_ms: float
    health_compile_ms: float
    effective_p50_ms: float
    effective_p99_ms: float
    acknowledged_p50_ms: float
    acknowledged_p99_ms: float
    routing_mib: int
    envoy_mib: int
    calls: int


def first(servers: Running) -> tuple[float, float, float]:
    """Seconds to compile everything, those on a core, and until an Envoy that has nothing runs all of it."""
    said = servers.told("acknowledged")
    return said["compiled"], said["busy"], said["acknowledged_at"] - max(said["connected_at"], said["compiled_at"])


def effective(servers: Running, routes: int) -> tuple[list[float], list[float]]:
    """Changes of default versions: seconds to compile, and from the change heard to the first call that gets it."""
    compiles, seconds = [], []
    for count in range(CHANGES):
        n, version = count * 7919 % routes, "2" if count % 2 else "3"
        if servers.version(n) == version:
            version = "1"
        servers.change("routes", n, version)
        heard = servers.told("heard")["heard"]
        deadline = heard + PATIENCE_SECONDS
        while servers.version(n) != version:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"version {version} of model {n} never came")
            time.sleep(CALLS_APART_SECONDS)
        seconds.append(time.perf_counter() - heard)
        compiles.append(servers.told("compiled")["compiled"])
        time.sleep(APART_SECONDS)
    return compiles, seconds


def acknowledged(servers: Running, part: str, routes: int) -> tuple[list[float], list[float], int]:
    """Other changes: seconds to compile, and from the change heard until Envoy has acknowledged it; routing's bytes."""
    compiles, seconds, memory = [], [], 0
    for count in range(CHANGES // 4):
        servers.change(part, count * 7919 % routes, count + 1 if part == "allocations" else count % 2 == 0)
        heard = servers.told("heard")["heard"]
        compiled = servers.told("compiled")
        compiles.append(compiled["compiled"])
        memory = compiled["memory"]
        seconds.append(servers.told("acknowledged")["acknowledged_at"] - heard)
        time.sleep(APART_SECONDS)
    return compiles, seconds, memory


def measure(routes: int) -> Figures:
    with running(routes) as servers:
        full, busy, in_force = first(servers)
        route_compiles, seen = effective(servers, routes)
        split_compiles, split, _ = acknowledged(servers, "allocations", routes)
        health_compiles, health, memory = acknowledged(servers, "judged", routes)
        return Figures(
            routes,
            round(full, 3),
            round(busy, 3),
            round(in_force, 2),
            _ms(route_compiles),
            _ms(split_compiles),
            _ms(health_compiles),
            _ms(seen),
            _ms(seen, 99),
            _ms(split + health),
            _ms(split + health, 99),
            memory // MIB,
            servers.envoy_memory() // MIB,
            servers.calls,
        )


def _ms(seconds: list[float], percentile: int = 50) -> float:
    return round(statistics.quantiles(seconds, n=100, method="inclusive")[percentile - 1] * 1000, 1)


def main() -> int:
    found = []
    for routes in SIZES:
        try:
            found.append(asdict(measure(routes)))
        except (grpc.RpcError, TimeoutError, EOFError) as fault:
            print(f"{routes} routes: {fault}", file=sys.stderr)
            return 1
    print("routing's compiler and ADS with Penstock's Envoy; ms: medians, p99 where it says so")
    for name in found[0]:
        print(f"{name:24}" + "".join(f"{figures[name]:12,}" for figures in found))
    print(json.dumps({f"{name}_{figures['routes']}": value for figures in found for name, value in figures.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
