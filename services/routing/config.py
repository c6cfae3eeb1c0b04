"""What routing reads from its environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from libs.config import ConfigError, Environment
from libs.serve import Address


@dataclass(frozen=True)
class Config:
    """Everything that is set from outside."""

    address: Address
    postgres_dsn: str
    mesh_address: str
    """host:port of the mesh listener, the only way to siblings."""
    state_dir: Path
    """What is known last is kept here, for a start while everybody else is down; and the first key, in `admin.key`."""
    auth: bool
    """Whether callers need keys. If so, and none was ever made, the first start makes one."""
    issuers: Path | None
    """The file that names issuers of tokens; None where callers have keys only."""
    origins: tuple[str, ...]
    """Of pages that may call, `https://app.example`, or `*`; those of the ingress's own origin always may."""


ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-f:]+\](:\d{1,5})?|\*")


def read(variables: Mapping[str, str]) -> Config:
    """Raises ConfigError, which lists every fault at once."""
    environment, issuers = Environment(variables), variables.get("PENSTOCK_JWT_PROVIDERS")
    config = Config(
        address=Address(
            listen=environment.address("PENSTOCK_LISTEN", "127.0.0.1:50051"),
            metrics_port=environment.integer("PENSTOCK_METRICS_PORT", 0),
            # ADS streams never end by themselves: every second of grace is one more without a policy server
            grace_seconds=1.0,
        ),
        postgres_dsn=environment.text("PENSTOCK_POSTGRES_DSN"),
        mesh_address=environment.address("PENSTOCK_MESH_ADDRESS"),
        state_dir=environment.path("PENSTOCK_STATE_DIR"),
        auth=environment.switch("PENSTOCK_AUTH", default=True),
        issuers=Path(issuers) if issuers else None,
        origins=_origins(variables),
    )
    environment.check()
    if issuers and not config.auth:
        raise ConfigError("cannot start:\n  PENSTOCK_JWT_PROVIDERS: with PENSTOCK_AUTH=off nobody is asked for a token")
    return config


def _origins(variables: Mapping[str, str]) -> tuple[str, ...]:
    said = variables.get("PENSTOCK_ALLOWED_ORIGINS", "")
    found = tuple(sorted({origin.lower() for origin in map(str.strip, said.split(",")) if origin}))
    wrong = [origin for origin in found if not ORIGIN.fullmatch(origin)]
    if wrong:
        form = "scheme://host[:port] without a path, or *"
        raise ConfigError(f"cannot start:\n  PENSTOCK_ALLOWED_ORIGINS: {', '.join(wrong)}: an origin is {form}")
    return found
