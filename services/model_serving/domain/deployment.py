"""Servers, and what is wanted on them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum

from libs.errors import Faults
from services.model_serving.domain.address import RULE, is_address
from services.model_serving.domain.model import ModelVersion

SERVER_NAME = re.compile(r"[a-z0-9-]{1,63}")
MOST_SERVERS = 1000
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_MESSAGE = 4096


class PlacementState(Enum):
    """PENDING → LOADING → READY; FAILED is tried again; UNLOADING ends in the placement being gone."""

    PENDING = "pending"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    UNLOADING = "unloading"


class DeploymentState(Enum):
    PENDING = "pending"
    READY = "ready"
    PARTIAL = "partial"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True)
class Server:
    """One Triton."""

    name: str
    address: str
    """host:port of its gRPC endpoint."""
    repository_path: str = ""
    """Its model repository as this service sees it; empty: files travel as bytes."""
    metrics_address: str = ""
    reachable: bool = False
    version: str = ""


@dataclass(frozen=True)
class Placement:
    """A version on one server."""

    server: str
    address: str
    state: PlacementState
    update_time: datetime
    """When the state was entered."""
    message: str = ""
    attempts: int = 0
    """Refusals in a row."""
    retry_time: datetime | None = None
    """Not to be tried before; None: at once."""

    def enter(self, state: PlacementState, now: datetime, message: str = "") -> "Placement":
        """The placement in another state, its refusals forgotten."""
        return replace(self, state=state, update_time=now, message=message, attempts=0, retry_time=None)

    def loading(self, now: datetime) -> "Placement":
        """What refused before is remembered until it is ready."""
        return replace(self, state=PlacementState.LOADING, update_time=now, retry_time=None)

    def refused(self, now: datetime, message: str) -> "Placement":
        """FAILED (an UNLOADING one stays that), to be tried again after a pause that doubles."""
        pause = min(FIRST_PAUSE_SECONDS * 2**self.attempts, LONGEST_PAUSE_SECONDS)
        unloading = self.state is PlacementState.UNLOADING
        return replace(
            self,
            state=self.state if unloading else PlacementState.FAILED,
            update_time=self.update_time if unloading else now,
            message=message[:LONGEST_MESSAGE],
            attempts=min(self.attempts + 1, 30),
            retry_time=now + timedelta(seconds=pause),
        )

    def due(self, now: datetime) -> bool:
        return self.retry_time is None or self.retry_time <= now


@dataclass(frozen=True)
class Deployment:
    """A model version wanted on some servers."""

    model: str
    version: str
    deleting: bool
    create_time: datetime
    placements: tuple[Placement, ...]
    """By server name."""

    @property
    def state(self) -> DeploymentState:
        if self.deleting:
            return DeploymentState.DELETING
        states = [placement.state for placement in self.placements]
        ready = states.count(PlacementState.READY)
        if ready:
            return DeploymentState.READY if ready == len(states) else DeploymentState.PARTIAL
        failed = states and all(state is PlacementState.FAILED for state in states)
        return DeploymentState.FAILED if failed else DeploymentState.PENDING

    def ready_addresses(self) -> tuple[str, ...]:
        return tuple(p.address for p in self.placements if p.state is PlacementState.READY)


@dataclass(frozen=True)
class Wanted:
    """A version that a server should have, or, when its placement is UNLOADING, should lose."""

    version: ModelVersion
    placement: Placement

    @property
    def model(self) -> str:
        return self.version.model

    @property
    def key(self) -> tuple[str, str]:
        return self.version.model, self.version.version


def check_server(server: Server, faults: Faults) -> None:
    faults.require(SERVER_NAME.fullmatch(server.name), "server.name", "1 to 63 characters of a-z 0-9 -")
    faults.require(is_address(server.address), "server.address", RULE)
    metrics = not server.metrics_address or is_address(server.metrics_address)
    faults.require(metrics, "server.metrics_address", f"{RULE}; or empty")
    absolute = not server.repository_path or server.repository_path.startswith("/")
    faults.require(absolute, "server.repository_path", "an absolute path, or empty")


def check_servers(names: Sequence[str], faults: Faults) -> None:
    if len(names) > MOST_SERVERS:
        faults.add("deployment.servers", f"more than {MOST_SERVERS}")
        return
    before: set[str] = set()
    for index, name in enumerate(names):
        faults.require(name not in before, f"deployment.servers[{index}]", f"{name!r} stands twice")
        before.add(name)
