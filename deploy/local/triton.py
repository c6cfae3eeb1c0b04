"""Triton 2.51 out of the wheel `nvidia-pytriton`, one part for each server."""

from __future__ import annotations

from pathlib import Path

from deploy.local import probes
from deploy.local.part import Part
from deploy.local.places import Places
from deploy.local.ports import TRITONS, Ports
from deploy.triton import backend


def name(server: str) -> str:
    return f"triton-{server}"


def repository(places: Places, server: str) -> Path:
    """The server's own model repository; whoever loads a model writes it there first."""
    return places.data("triton") / server


def addresses(ports: Ports, kind: str) -> str:
    """Where each server listens for `grpc` or `metrics`: `a=127.0.0.1:8001,b=127.0.0.1:8011`."""
    return ",".join(f"{server}=127.0.0.1:{ports[f'triton_{server}_{kind}']}" for server in TRITONS)


def part(places: Places, ports: Ports, server: str) -> Part:
    """Starts with no model: what runs there is asked for through the repository API."""
    environment = places.triton_environment
    backends = places.data("triton") / f"{server}-backends"
    models = repository(places, server)
    # the prefix tells our shared memory from that of other Tritons on this machine
    segments = f"{places.run.name}-{server}-"
    grpc, http, metrics = (ports[f"triton_{server}_{kind}"] for kind in ("grpc", "http", "metrics"))

    def prepare() -> None:
        models.mkdir(parents=True, exist_ok=True)
        backend.assemble(environment, backends)
        for left in Path("/dev/shm").glob(f"{segments}*"):  # noqa: S108  where Triton puts them
            left.unlink(missing_ok=True)

    return Part(
        name=name(server),
        argv=(
            str(backend.program(environment)),
            f"--id={server}",
            f"--model-repository={models}",
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={segments}",
            "--model-control-mode=explicit",
            # else one model that could not be loaded makes the whole server "not ready"
            "--strict-readiness=false",
            "--disable-auto-complete-config",
            "--grpc-address=127.0.0.1",
            "--http-address=127.0.0.1",
            f"--grpc-port={grpc}",
            f"--http-port={http}",
            f"--metrics-port={metrics}",
            "--exit-timeout-secs=5",
        ),
        env=backend.environment(environment),
        ready=probes.http(http, "/v2/health/ready"),
        ports=tuple(f"triton_{server}_{kind}" for kind in ("grpc", "http", "metrics")),
        prepare=prepare,
        tier=1,
    )
