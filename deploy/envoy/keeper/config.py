"""What the keeper reads from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from libs.config import Environment


@dataclass(frozen=True)
class Config:
    """Everything that is set from outside."""

    listen: str
    """host:port for its Envoy, which nobody else should reach."""
    routings: tuple[str, ...]
    """host:port of each replica's ADS; one that comes earlier is asked first."""
    state: Path
    """Where the policy is kept; nobody else's."""
    metrics_port: int
    """0 exposes none."""


def read(variables: Mapping[str, str]) -> Config:
    """Raises ConfigError, which lists every fault."""
    environment = Environment(variables)
    config = Config(
        listen=environment.address("PENSTOCK_LISTEN"),
        routings=environment.addresses("PENSTOCK_ADS_TARGET"),
        state=environment.path("PENSTOCK_STATE_DIR"),
        metrics_port=environment.integer("PENSTOCK_METRICS_PORT", 0),
    )
    environment.check()
    return config
