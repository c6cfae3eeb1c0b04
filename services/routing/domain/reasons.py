"""Why a snapshot is another than the one before: its inputs' changes, in words."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from services.routing.domain.history import Write
from services.routing.domain.parts import ISSUER, ROUTE, WEIGHT, Input, Key
from services.routing.domain.policy import (
    Allocation,
    ApiKey,
    Deployment,
    Exhausted,
    Issuer,
    RateLimit,
    Route,
    Server,
    ServerWeight,
    Unhealthy,
)

MOST_LINES = 20
OWNERS = {
    "server": "model_serving",
    "deployment": "model_serving",
    "allocation": "experimentation",
    "unhealthy": "health_monitoring",
    "exhausted": "cost_tracking",
    "api_key": "routing",
    "rate_limit": "routing",
    WEIGHT: "health_monitoring",
    ISSUER: "routing",
}
"""Who changes inputs of a type; routes are written by people. So are keys and limits: a key's record says by whom."""
TITLES = {
    "unhealthy": "health of",
    "exhausted": "budget of",
    "api_key": "API key",
    "rate_limit": "rate limit",
    WEIGHT: "weight of",
    ISSUER: "issuer of tokens",
}
SOMEBODY = "unknown"
BUCKETS_PER_PERCENT = 100

Changes = Mapping[Key, tuple[Input | None, Input | None]]
"""Inputs before and after; None where there is none."""


def authors(changes: Changes, writes: Sequence[Write]) -> tuple[str, ...]:
    """Ascending. A route that changed though nobody is known to have written it has an unknown author."""
    written = {write.model for write in writes}
    found = {write.principal for write in writes}
    for kind, name in changes:
        if kind != ROUTE:
            found.add(OWNERS[kind])
        elif name not in written:
            found.add(SOMEBODY)
    return tuple(sorted(found))


def reasons(changes: Changes, writes: Sequence[Write]) -> tuple[str, ...]:
    """Routes first, at most 20 lines and one that counts the others; what the writes themselves say leads."""
    own = dict.fromkeys(write.why for write in writes if write.why)
    order = sorted(changes, key=lambda key: (key[0] != ROUTE, key))
    told = (f"{_title(key, changes[key])}: {what(key[0], *changes[key])}" for key in order)
    lines = tuple(islice(chain(own, told), MOST_LINES))
    more = len(own) + len(order) - MOST_LINES
    return (*lines, f"and {more} more changes") if more > 0 else lines


def what(kind: str, before: Any, after: Any) -> str:
    """What happened to one input, None being none: `default_version 1 -> 2`."""
    return WORDS[kind](before, after)


def _title(key: Key, change: tuple[Input | None, Input | None]) -> str:
    kind, name = key
    allocation = change[1] or change[0]
    if isinstance(allocation, Allocation):
        return f"experiment {allocation.experiment} on {allocation.model}"
    return f"{TITLES.get(kind, kind)} {name}"


def _route(before: Route | None, after: Route | None) -> str:
    if after is None:
        return "deleted"
    new = fields(after)
    if before is None:
        return f"created, default_version {after.default_version}"
    old = fields(before)
    return ", ".join(f"{field} {old[field]} -> {new[field]}" for field in new if old[field] != new[field])


def fields(route: Route) -> dict[str, Any]:
    """What people write in a route, in the words of its proto."""
    return {
        "default_version": route.default_version,
        "fallback_versions": ",".join(target.version for target in route.fallbacks) or "none",
        "load_balancing": route.load_balancing.value,
        "timeout": f"{route.timeout:g}s",
        "per_try_timeout": f"{route.retries.per_try_timeout:g}s",
        "max_retries": route.retries.attempts,
        "retry_back_off": f"{route.retries.back_off:g}s",
        "max_calls": route.limits.max_calls,
        "max_waiting": route.limits.max_waiting,
        "max_message_bytes": route.limits.max_message_bytes,
        "mirror": f"{route.mirror.version}:{route.mirror.basis_points / 100:g}%" if route.mirror else "none",
    }


def _ready(deployment: Deployment | None) -> str:
    if deployment is None:
        return "not deployed"
    return f"ready on {', '.join(deployment.servers)}" if deployment.servers else "ready on no server"


def _address(server: Server | None) -> str:
    return f"{server.address}:{server.port}" if server else "none"


def _shares(allocation: Allocation | None) -> str:
    """`x 25 % (version 1), y 25 % (version 2)`."""
    if allocation is None:
        return "not running"
    buckets: dict[tuple[str, str], int] = {}
    for owned in allocation.ranges:
        key = (owned.variant, owned.version)
        buckets[key] = buckets.get(key, 0) + owned.end - owned.start
    shares = (f"{v} {n / BUCKETS_PER_PERCENT:g} % (version {version})" for (v, version), n in sorted(buckets.items()))
    return ", ".join(shares) or "no buckets"


def _health(_: Unhealthy | None, after: Unhealthy | None) -> str:
    return f"gets no calls: {after.reason}" if after else "gets calls again"


def _budget(_: Exhausted | None, after: Exhausted | None) -> str:
    return "is spent" if after else "is not spent any more"


def _key(_: ApiKey | None, after: ApiKey | None) -> str:
    return f"made for {after.tenant}/{after.principal} ({', '.join(after.roles)})" if after else "revoked"


def _limit(limit: RateLimit | None) -> str:
    if limit is None:
        return "none"
    whose = limit.tenant or "every tenant"
    shadow = ", shadow" if limit.shadow else ""
    return f"{limit.requests_per_second:g}/s, burst {limit.burst} ({whose}, {limit.scope}{shadow})"


def _issuer(before: Issuer | None, after: Issuer | None) -> str:
    if before is None or after is None:
        return f"its tokens are {'not taken any more' if after is None else 'taken'}"
    names = {"jwks": "its keys", "audiences": "its audiences", "tenants": "its tenants"}
    told = [words for name, words in names.items() if getattr(before, name) != getattr(after, name)]
    return f"{', '.join(told) or 'its claims'} changed"


def _weight(before: ServerWeight | None, after: ServerWeight | None) -> str:
    old, new = (str(each.weight) if each else "none" for each in (before, after))
    return f"{old} -> {new}" + (f": {after.reason}" if after and after.reason else "")


WORDS: Mapping[str, Callable[[Any, Any], str]] = {
    ROUTE: _route,
    "server": lambda before, after: f"{_address(before)} -> {_address(after)}",
    "deployment": lambda before, after: f"{_ready(before)} -> {_ready(after)}",
    "allocation": lambda before, after: f"{_shares(before)} -> {_shares(after)}",
    "unhealthy": _health,
    "exhausted": _budget,
    "api_key": _key,
    "rate_limit": lambda before, after: f"{_limit(before)} -> {_limit(after)}",
    WEIGHT: _weight,
    ISSUER: _issuer,
}
