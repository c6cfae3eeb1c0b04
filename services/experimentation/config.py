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
    """host:port of the mesh listener, through which routing is told of a graduation."""


def read(variables: Mapping[str, str]) -> Config:
    """Raises ConfigError, which lists every fault."""
    environment = Environment(variables)
    config = Config(
        address=Address(
            listen=environment.address("PENSTOCK_LISTEN", "127.0.0.1:50054"),
            metrics_port=environment.integer("PENSTOCK_METRICS_PORT", 0),
        ),
        postgres_dsn=environment.text("PENSTOCK_POSTGRES_DSN"),
        mesh_address=environment.address("PENSTOCK_MESH_ADDRESS"),
    )
    environment.check()
    return config
