"""What is compiled: many routes on 200 servers, each with a split, a fallback, a mirror and pinned versions, and as
many keys, each of a tenant with a limit."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

from libs.assignment import bucket
from services.routing.domain.keys import key_hash
from services.routing.domain.known import Deployed, Judged, Known
from services.routing.domain.policy import (
    Allocation,
    ApiKey,
    Deployment,
    Mirror,
    ModelVersion,
    Range,
    RateLimit,
    Route,
    Scope,
    Server,
    Unhealthy,
)

SERVERS = 200
MIRROR = Mirror("4", 100)
"""A hundredth of the calls goes to a fourth version too, which no change makes the default."""
GROUP = 4
"""Servers with the same models: versions 1 and 2 of a model on the four of one group, 3 and 4 on those of the next."""


def name(n: int) -> str:
    return f"model-{n:05}"


def key(n: int) -> str:
    """Which the callers of the n-th model show."""
    return f"key of tenant {n}"


def known(routes: int, address: str) -> Known:
    """Every server has the same address: who answers is not measured."""
    host, _, port = address.rpartition(":")
    groups = [tuple(f"server-{g:03}" for g in range(start, start + GROUP)) for start in range(0, SERVERS, GROUP)]
    deployments = tuple(
        Deployment(name(n), version, groups[(n + (version in "34")) % len(groups)])
        for n in range(routes)
        for version in ("1", "2", "3", "4")
    )
    servers = tuple(Server(server, host, int(port)) for group in groups for server in group)
    return Known(
        tuple(_route(n, "1") for n in range(routes)),
        Deployed(servers, deployments),
        tuple(_allocation(n, 2500) for n in range(routes)),
        (),
        tuple(ApiKey(f"{n:012}", key_hash(key(n)), f"tenant-{n}", "bench", ("caller",)) for n in range(routes)),
        tuple(RateLimit(f"limit-{n}", f"tenant-{n}", Scope.TENANT, 1e6, 1_000_000) for n in range(routes)),
    )


def said(before: Known, part: str, n: int, value: Any) -> Any:
    """The whole word of the owner of a part after one change, all of it fresh objects, as a store or a watch has it.

    `routes`: the n-th has this default version; `allocations`: the n-th experiment has twice so many buckets;
    `judged`: the n-th server is unhealthy, if there is a value.
    """
    if part == "routes":
        return _fresh(before.routes, n, _route(n, value))
    if part == "allocations":
        return _fresh(before.allocations, n, _allocation(n, value))
    return Judged((Unhealthy(f"server-{n % SERVERS:03}", "refuses"),) if value else ())


def bystander(n: int) -> str:
    """A unit that is in no experiment on the n-th model."""
    return next(unit for unit in map(str, count()) if bucket(unit, _allocation(n, 0).salt) >= 7500)


def _fresh(items: tuple[Any, ...] | None, n: int, changed: Any) -> tuple[Any, ...]:
    return tuple(changed if at == n else replace(item) for at, item in enumerate(items or ()))


def _route(n: int, version: str) -> Route:
    return Route(name(n), version, (ModelVersion(name(n), "3"),), mirror=MIRROR)


def _allocation(n: int, buckets: int) -> Allocation:
    ranges = (Range(0, buckets, "control", "1"), Range(5000, 5000 + buckets, "treatment", "2"))
    return Allocation(f"experiment-{n:05}", name(n), f"salt-{n:05}", ranges)
