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
    routing: str
    """Where routing's ADS is: a gRPC target, `host:port` or several as in `ipv4:10.0.0.1:50051,10.0.0.2:50051`."""
    state: Path
    """Where the policy is kept; nobody else's."""
    metrics_port: int
    """0 exposes none."""


def read(variables: Mapping[str, str]) -> Config:
    """Raises ConfigError, which lists every fault."""
    environment = Environment(variables)
    config = Config(
        listen=environment.address("PENSTOCK_LISTEN"),
        routing=environment.text("PENSTOCK_ADS_TARGET"),
        state=environment.path("PENSTOCK_STATE_DIR"),
        metrics_port=environment.integer("PENSTOCK_METRICS_PORT", 0),
    )
    environment.check()
    return config
