"""Configuration, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from libs.config import Environment
from libs.serve import Address


@dataclass(frozen=True)
class Config:
    address: Address
    postgres_dsn: str
    redis_url: str
    history: Path
    """Where Parquet files lie; one directory for all replicas."""
    workers: int
    """Processes behind the one port."""


def read(variables: Mapping[str, str], worker: int = 0) -> Config:
    """Raises ConfigError with every fault. Each worker has a metrics port of its own, 100 apart."""
    environment = Environment(variables)
    metrics_port = environment.integer("PENSTOCK_METRICS_PORT", 0)
    config = Config(
        address=Address(
            listen=environment.address("PENSTOCK_LISTEN", "127.0.0.1:50052"),
            metrics_port=metrics_port and metrics_port + 100 * worker,
        ),
        postgres_dsn=environment.text("PENSTOCK_POSTGRES_DSN"),
        redis_url=environment.text("PENSTOCK_REDIS_URL"),
        history=environment.path("PENSTOCK_STATE_DIR") / "history",
        workers=environment.integer("PENSTOCK_WORKERS", 1, least=1),
    )
    environment.check()
    return config
