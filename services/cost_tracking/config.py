"""What the service reads from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from libs.config import Environment
from libs.serve import Address


@dataclass(frozen=True)
class Config:
    """Everything that is set from outside."""

    address: Address
    postgres_dsn: str
    mesh_address: str
    """host:port of the mesh listener, through which model_serving is asked for the servers."""
    envoy_admin: str
    """host:port of Envoy's admin endpoint, whose counters the reconciliation reads."""


def read(variables: Mapping[str, str]) -> Config:
    """Raises ConfigError, which lists every fault."""
    environment = Environment(variables)
    config = Config(
        address=Address(
            listen=environment.address("PENSTOCK_LISTEN", "127.0.0.1:50055"),
            metrics_port=environment.integer("PENSTOCK_METRICS_PORT", 0),
        ),
        postgres_dsn=environment.text("PENSTOCK_POSTGRES_DSN"),
        mesh_address=environment.address("PENSTOCK_MESH_ADDRESS"),
        envoy_admin=environment.address("PENSTOCK_ENVOY_ADMIN"),
    )
    environment.check()
    return config
