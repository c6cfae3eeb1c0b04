"""What routing reads from its environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from libs.config import Environment
from libs.serve import Address


@dataclass(frozen=True)
class Config:
    """All of it; nothing is read later."""

    address: Address
    postgres_dsn: str
    mesh_address: str
    """host:port of the mesh listener, the only way to siblings."""
    state_dir: Path
    """What is known last is kept here, for a start while everybody else is down."""

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> "Config":
        """Raises ConfigError, which lists every fault at once."""
        environment = Environment(variables)
        config = cls(
            address=Address(
                listen=environment.address("PENSTOCK_LISTEN", "127.0.0.1:50051"),
                metrics_port=environment.integer("PENSTOCK_METRICS_PORT", 0),
            ),
            postgres_dsn=environment.text("PENSTOCK_POSTGRES_DSN"),
            mesh_address=environment.address("PENSTOCK_MESH_ADDRESS", "127.0.0.1:10001"),
            state_dir=environment.path("PENSTOCK_STATE_DIR"),
        )
        environment.check()
        return config
