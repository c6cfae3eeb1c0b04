"""What this service is told from outside."""

from collections.abc import Mapping
from dataclasses import dataclass

from libs.config import Environment
from libs.serve import Address


@dataclass(frozen=True)
class Config:
    address: Address
    http_listen: str
    """host:port of `GET /health`."""
    postgres_dsn: str
    mesh_address: str
    """host:port of Envoy's mesh listener."""
    services: Mapping[str, str]
    """Penstock's services: name to host:port of the service itself, not of the mesh. Empty: none is probed."""
    probe_interval: float
    """Seconds from one probe of a target to the next."""
    probe_timeout: float
    """Seconds after which a probe counts as not answered; at most the interval by default."""


def read(variables: Mapping[str, str]) -> Config:
    """Raises ConfigError, which names every fault."""
    environment = Environment(variables)
    interval = environment.number("PENSTOCK_PROBE_INTERVAL_SECONDS", 10.0, least=0.1)
    config = Config(
        address=Address(
            environment.address("PENSTOCK_LISTEN", "127.0.0.1:50056"),
            environment.integer("PENSTOCK_METRICS_PORT", 0),
        ),
        http_listen=environment.address("PENSTOCK_HTTP_LISTEN", "127.0.0.1:50081"),
        postgres_dsn=environment.text("PENSTOCK_POSTGRES_DSN"),
        mesh_address=environment.address("PENSTOCK_MESH_ADDRESS", "127.0.0.1:10001"),
        services=environment.pairs("PENSTOCK_SERVICE_ADDRESSES", ""),
        probe_interval=interval,
        probe_timeout=environment.number("PENSTOCK_PROBE_TIMEOUT_SECONDS", min(5.0, interval) or 5.0, least=0.05),
    )
    environment.check()
    return config
