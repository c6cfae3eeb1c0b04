"""Rate limits as people write them: what is allowed in one, and what is kept beside it."""

import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from libs.errors import Faults, Precondition
from services.routing.domain.keys import check_tenant
from services.routing.domain.policy import RateLimit
from services.routing.domain.routes import MODEL

SLOWEST = 0.001
FASTEST = 1_000_000.0
MOST_BURST = 1_000_000
MOST_FOR_A_CALL = 64
"""So many the ingress takes tokens of: deploy/envoy/filter/quota.c, MOST_LIMITS."""


@dataclass(frozen=True, slots=True)
class StoredLimit:
    """A limit and what its store knows about it. `etag` is another one after every write."""

    limit: RateLimit
    etag: str
    create_time: datetime
    update_time: datetime


class LimitStore(Protocol):
    """Limits by name. Every method may raise Unavailable."""

    async def create(self, limit: RateLimit, now: datetime) -> StoredLimit:
        """Raises AlreadyExists RATE_LIMIT_EXISTS, Precondition RATE_LIMITS_FULL."""
        ...

    async def get(self, name: str) -> StoredLimit:
        """Raises NotFound RATE_LIMIT_NOT_FOUND."""
        ...

    async def list(self, tenant: str, after: str, most: int) -> Sequence[StoredLimit]:
        """By name (in code point order), those after `after`; those that name the tenant, or all if none is named."""
        ...

    async def change(
        self, name: str, etag: str, now: datetime, change: Callable[[RateLimit], RateLimit]
    ) -> StoredLimit:
        """Replace the limit by `change` of it, atomically; an empty etag matches any.

        Raises NotFound RATE_LIMIT_NOT_FOUND, Conflict ETAG_MISMATCH, and what `change` raises: then nothing is written.
        """
        ...

    async def delete(self, name: str, etag: str) -> None:
        """Raises NotFound RATE_LIMIT_NOT_FOUND, Conflict ETAG_MISMATCH."""
        ...

    def watch(self) -> AsyncIterator[tuple[RateLimit, ...]]:
        """All limits, then all again after each write, whichever replica made it. Writes are coalesced."""
        ...


def require_room(tenant: str, met: int) -> None:
    """`met`: of all calls that a limit of `tenant` holds for, the most limits that one meets, with it.

    Raises Precondition RATE_LIMITS_FULL.
    """
    if met > MOST_FOR_A_CALL:
        whose = f"tenant {tenant!r}" if tenant else "some tenant"
        message = f"{MOST_FOR_A_CALL} limits hold for each call of {whose} already, those for every tenant included"
        raise Precondition("RATE_LIMITS_FULL", message, tenant=tenant)


def default_burst(requests_per_second: float) -> int:
    """What one second brings, at least 1."""
    return max(1, math.ceil(requests_per_second)) if math.isfinite(requests_per_second) else 1


def check_limit_name(name: str, field: str, faults: Faults) -> None:
    rule = "must be 1 to 127 bytes of [A-Za-z0-9_.-] and start with a letter or digit"
    faults.require(MODEL.fullmatch(name), field, rule)


def check_limit(limit: RateLimit, faults: Faults) -> None:
    """Add every fault of the limit; fields are those of a request's `rate_limit`."""
    check_limit_name(limit.name, "rate_limit.name", faults)
    if limit.tenant:
        check_tenant(limit.tenant, "rate_limit.tenant", faults)
    rate = limit.requests_per_second
    # no comparison with NaN holds
    within = f"is {rate:g}; must be {SLOWEST:g} to {FASTEST:.0f}"
    faults.require(SLOWEST <= rate <= FASTEST, "rate_limit.requests_per_second", within)
    if SLOWEST <= rate <= FASTEST:
        most = f"is {limit.burst}; must be 1 to {MOST_BURST}"
        faults.require(1 <= limit.burst <= MOST_BURST, "rate_limit.burst", most)
