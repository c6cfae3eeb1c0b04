"""What the companion reads from its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from libs.config import Environment

ROTATE_BYTES = 64 << 20


@dataclass(frozen=True)
class Config:
    """Everything that is set from outside."""

    record_log: Path
    """The file that Envoy writes."""
    state: Path
    """Where places and unreadable lines are kept; nobody else's."""
    mesh_address: str
    envoy_admin: str
    proxy: str
    """Names the Envoy to sinks: its node id."""
    rotate_bytes: int
    """The file is set aside when it is this large."""
    metrics_port: int
    """0 exposes none."""


def read(variables: Mapping[str, str]) -> Config:
    """Raises ConfigError, which lists every fault."""
    environment = Environment(variables)
    config = Config(
        record_log=environment.path("PENSTOCK_ACCESS_LOG"),
        state=environment.path("PENSTOCK_STATE_DIR"),
        mesh_address=environment.address("PENSTOCK_MESH_ADDRESS"),
        envoy_admin=environment.address("PENSTOCK_ENVOY_ADMIN"),
        proxy=environment.text("PENSTOCK_PROXY", "envoy"),
        rotate_bytes=environment.integer("PENSTOCK_ROTATE_BYTES", ROTATE_BYTES, least=1),
        metrics_port=environment.integer("PENSTOCK_METRICS_PORT", 0),
    )
    environment.check()
    return config
