"""The Envoys that run the policy, as the ADS server knows them and as the rest of routing asks for them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from services.routing.domain.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Rejection:
    """Envoy refused resources of this type and keeps those it had; the message is its own."""

    type_url: str
    message: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Proxy:
    """An Envoy that is or was connected. A revision is empty, a time None, until there is one."""

    id: str
    envoy_version: str
    connected: bool
    connect_time: datetime
    sent_revision: str = ""
    acknowledged_revision: str = ""
    acknowledge_time: datetime | None = None
    rejections: tuple[Rejection, ...] = ()


class Proxies(Protocol):
    """What the ADS server tells about its Envoys."""

    def proxies(self) -> Sequence[Proxy]:
        """By id."""
        ...

    def acknowledged(self, proxy: str, model: str = "") -> tuple[str, Snapshot] | None:
        """The newest snapshot of which this Envoy (empty: any connected one, else any) acknowledged every resource, or
        all that the model needs, with that Envoy's id. None when there is none."""
        ...
