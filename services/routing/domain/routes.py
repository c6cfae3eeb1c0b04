"""Routes as people write them: what is allowed in one, and what is kept beside it."""

import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from libs.errors import Faults
from services.routing.domain.policy import Limits, LoadBalancing, Retries, Route

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")
VERSION = re.compile(r"[1-9][0-9]{0,17}")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
LONGEST_UNIT = 1024
MOST_FALLBACKS = 4
MOST_RETRIES = 10
LONGEST_TIMEOUT = 3600.0
LONGEST_BACK_OFF = 10.0
SHORTEST_TIMEOUT = 0.001
MOST_CALLS = 100_000
WHOLE = 10_000
"""Basis points of all calls."""

DEFAULT_LOAD_BALANCING = LoadBalancing.ROUND_ROBIN
DEFAULT_TIMEOUT = 5.0
DEFAULT_RETRIES = 5
DEFAULT_BACK_OFF = Retries().back_off
DEFAULT_LIMITS = Limits()
LARGEST_MESSAGE = 67 << 20
"""Bytes: a tensor of 64 MiB and what is around it. Envoy lets no larger one in."""


def default_per_try_timeout(timeout: float) -> float:
    """Half of the call's: a model may take that long, and an attempt on a server that hangs is made again in time."""
    return max(timeout / 2, min(timeout, SHORTEST_TIMEOUT))


@dataclass(frozen=True, slots=True)
class StoredRoute:
    """A route and what its store knows about it. `etag` is another one after every write."""

    route: Route
    etag: str
    create_time: datetime
    update_time: datetime


class RouteStore(Protocol):
    """Routes by model name. Every method may raise Unavailable."""

    async def create(self, route: Route, now: datetime) -> StoredRoute:
        """Raises AlreadyExists ROUTE_EXISTS."""
        ...

    async def get(self, model: str) -> StoredRoute:
        """Raises NotFound ROUTE_NOT_FOUND."""
        ...

    async def list(self, after: str, most: int) -> Sequence[StoredRoute]:
        """By model name (in code point order), those after `after`."""
        ...

    async def change(self, model: str, etag: str, now: datetime, change: Callable[[Route], Route]) -> StoredRoute:
        """Replace the route by `change` of it, atomically; an empty etag matches any.

        Raises NotFound ROUTE_NOT_FOUND, Conflict ETAG_MISMATCH, and what `change` raises: then nothing is written.
        """
        ...

    async def delete(self, model: str, etag: str) -> None:
        """Raises NotFound ROUTE_NOT_FOUND, Conflict ETAG_MISMATCH."""
        ...

    def watch(self) -> AsyncIterator[tuple[Route, ...]]:
        """All routes, then all again after each write, whichever replica made it. Writes are coalesced."""
        ...


def check_model(model: str, field: str, faults: Faults) -> None:
    rule = "must be 1 to 127 bytes of [A-Za-z0-9_.-] and start with a letter or digit"
    faults.require(MODEL.fullmatch(model), field, rule)


def check_unit(unit: str, field: str, faults: Faults) -> None:
    """A routing key as Envoy takes it; empty is none."""
    faults.require(len(unit.encode()) <= LONGEST_UNIT, field, f"is longer than the {LONGEST_UNIT} bytes of a key")
    faults.require(not CONTROL.search(unit), field, "has control characters")


def check_route(route: Route, faults: Faults) -> None:
    """Add every fault of the route; fields are those of a request's `route`."""
    check_model(route.model, "route.model", faults)
    _check_version(route.default_version, "route.default_version", faults)
    fallbacks = [target.version for target in route.fallbacks]
    if len(fallbacks) > MOST_FALLBACKS:
        faults.add("route.fallback_versions", f"{len(fallbacks)} are given; at most {MOST_FALLBACKS} are allowed")
    for index, version in enumerate(fallbacks):
        field = f"route.fallback_versions[{index}]"
        _check_version(version, field, faults)
        faults.require(version not in fallbacks[:index], field, f"version {version} stands in the list before")
    _check_mirror(route, faults)
    _check_limits(route.limits, faults)
    _check_times(route, faults)
    attempts = route.retries.attempts
    faults.require(0 <= attempts <= MOST_RETRIES, "route.max_retries", f"is {attempts}; must be 0 to {MOST_RETRIES}")


def _check_version(version: str, field: str, faults: Faults) -> None:
    if faults.require(version, field, "is required"):
        faults.require(VERSION.fullmatch(version), field, "must be a positive decimal integer without leading zeros")


def _check_mirror(route: Route, faults: Faults) -> None:
    mirror = route.mirror
    if mirror is None:
        return
    _check_version(mirror.version, "route.mirror.version", faults)
    same = mirror.version == route.default_version
    faults.require(not same, "route.mirror.version", f"version {mirror.version} answers these calls already")
    rule = f"is {mirror.basis_points}; must be 1 to {WHOLE}, hundredths of a percent"
    faults.require(1 <= mirror.basis_points <= WHOLE, "route.mirror.basis_points", rule)


def _check_limits(limits: Limits, faults: Faults) -> None:
    for field, given, least in (("max_calls", limits.max_calls, 1), ("max_waiting", limits.max_waiting, 0)):
        rule = f"is {given}; must be {least} to {MOST_CALLS}"
        faults.require(least <= given <= MOST_CALLS, f"route.{field}", rule)
    rule = f"is {limits.max_message_bytes}; must be 0 to {LARGEST_MESSAGE}"
    faults.require(0 <= limits.max_message_bytes <= LARGEST_MESSAGE, "route.max_message_bytes", rule)


def _check_times(route: Route, faults: Faults) -> None:
    limits = f"must be {SHORTEST_TIMEOUT:g} to {LONGEST_TIMEOUT:g} seconds"
    per_try = route.retries.per_try_timeout
    given = {"route.timeout": route.timeout, "route.per_try_timeout": per_try}
    for field, seconds in given.items():
        faults.require(SHORTEST_TIMEOUT <= seconds <= LONGEST_TIMEOUT, field, f"is {seconds:g} s; {limits}")
    back_off = route.retries.back_off
    rule = f"is {back_off:g} s; must be {SHORTEST_TIMEOUT:g} to {LONGEST_BACK_OFF:g} seconds"
    faults.require(SHORTEST_TIMEOUT <= back_off <= LONGEST_BACK_OFF, "route.retry_back_off", rule)
    if per_try > route.timeout:
        message = f"is {per_try:g} s; must not exceed the timeout of {route.timeout:g} s"
        faults.add("route.per_try_timeout", message)
