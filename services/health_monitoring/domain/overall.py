"""All healths in one word, with one check for each thing whose failure somebody will be called for."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.health_monitoring.domain.belief import State
from services.health_monitoring.domain.health import Health
from services.health_monitoring.domain.target import Kind


class Status(StrEnum):
    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    """Everything is served, with less behind it than there should be."""
    UNHEALTHY = "UNHEALTHY"
    UNKNOWN = "UNKNOWN"
    """It does not answer, or there is no evidence yet."""


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    """`service/routing`, `server/a`, `models`."""
    status: Status
    message: str = ""
    since: datetime | None = None
    """When that status was entered, where it is that of one target."""


@dataclass(frozen=True, slots=True)
class Overall:
    status: Status
    checks: tuple[Check, ...]

    @property
    def well(self) -> bool:
        return self.status in (Status.HEALTHY, Status.DEGRADED)


def overall(healths: Iterable[Health], *, informed: bool) -> Overall:
    """UNHEALTHY where a service is not HEALTHY, or no server is; a server or a model version that is not is DEGRADED.

    `informed`: whether every target is known and was probed; until then the whole is UNKNOWN.
    Model versions make one check together: their names are not for everybody, and there may be ten thousand.
    """
    by_kind: defaultdict[Kind, list[Health]] = defaultdict(list)
    for health in healths:
        by_kind[health.target.kind].append(health)
    services, servers = by_kind[Kind.SERVICE], by_kind[Kind.SERVER]
    each = [Check(h.target.identity, Status(h.state), since=h.since) for h in (*services, *servers)]
    checks = (*each, _models(by_kind[Kind.MODEL_VERSION], informed=informed))
    if not informed:
        return Overall(Status.UNKNOWN, checks)
    if _ill(services) or (servers and len(_ill(servers)) == len(servers)):
        return Overall(Status.UNHEALTHY, checks)
    whole = all(check.status is Status.HEALTHY for check in checks)
    return Overall(Status.HEALTHY if whole else Status.DEGRADED, checks)


def _models(versions: list[Health], *, informed: bool) -> Check:
    ill = _ill(versions)
    if not informed:
        return Check("models", Status.UNKNOWN, "not every server and model version has been heard of and probed yet")
    if not ill:
        return Check("models", Status.HEALTHY)
    return Check("models", Status.DEGRADED, f"{len(ill)} of {len(versions)} model versions on servers are not healthy")


def _ill(healths: Iterable[Health]) -> list[Health]:
    return [health for health in healths if health.state is not State.HEALTHY]
