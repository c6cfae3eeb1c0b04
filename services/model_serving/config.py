"""What the environment says."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from libs.config import ConfigError, Environment
from libs.serve import Address
from services.model_serving.domain.configuration import Backend


@dataclass(frozen=True)
class Config:
    address: Address
    """Where it listens."""
    http_listen: str
    """host:port of the REST form of the inference protocol."""
    postgres_dsn: str
    mesh_address: str
    """host:port of Envoy's mesh listener: the feature store and the native route."""
    artifacts: Path
    """Folder of uploaded files, the same for every replica."""
    seeds: Mapping[str, str]
    """Address of each server that is there from the start, by name."""
    seed_metrics: Mapping[str, str]
    """host:port of their metrics, by name."""
    backend: Backend
    """What runs ONNX files on the servers."""
    drain: timedelta
    """Traffic has so long to leave a version before it is unloaded."""
    workers: int
    """Processes that share the port."""


def read(variables: Mapping[str, str]) -> Config:
    """Raises ConfigError with every fault."""
    environment = Environment(variables)
    listen = environment.address("PENSTOCK_LISTEN", "127.0.0.1:50053")
    config = Config(
        address=Address(listen, environment.integer("PENSTOCK_METRICS_PORT", 0)),
        http_listen=environment.address("PENSTOCK_HTTP_LISTEN", "127.0.0.1:50080"),
        postgres_dsn=environment.text("PENSTOCK_POSTGRES_DSN"),
        mesh_address=environment.address("PENSTOCK_MESH_ADDRESS", "127.0.0.1:10001"),
        artifacts=environment.path("PENSTOCK_ARTIFACTS_DIR"),
        seeds=environment.pairs("PENSTOCK_TRITON_SERVERS", ""),
        seed_metrics=environment.pairs("PENSTOCK_TRITON_METRICS", ""),
        backend=Backend(environment.text("PENSTOCK_ONNX_BACKEND", "onnxruntime"), _runner(variables)),
        drain=timedelta(seconds=environment.number("PENSTOCK_UNLOAD_DRAIN_SECONDS", 2.0)),
        workers=environment.integer("PENSTOCK_WORKERS", 1, least=1),
    )
    environment.check()
    if (config.backend.name == "python") != bool(config.backend.runner):
        raise ConfigError("cannot start:\n  PENSTOCK_ONNX_BACKEND=python and PENSTOCK_ONNX_RUNNER go together")
    return config


def _runner(variables: Mapping[str, str]) -> str:
    """The text of the model.py that runs ONNX files on servers that have only the Python backend."""
    path = variables.get("PENSTOCK_ONNX_RUNNER")
    if not path:
        return ""
    try:
        return Path(path).read_text()
    except OSError as error:
        raise ConfigError(f"cannot start:\n  PENSTOCK_ONNX_RUNNER: {error}") from error
