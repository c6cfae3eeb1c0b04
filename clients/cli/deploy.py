"""deploy: servers, and what is loaded where."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from clients.cli.failures import fail
from clients.cli.pages import every
from clients.cli.session import Session, session
from penstock.model_serving.v1 import deployment_service_pb2 as pb
from penstock.model_serving.v1.deployment_pb2 import Deployment, Placement, Server

app = typer.Typer(help="Servers, and which versions they serve.", no_args_is_help=True)
EVERY_SECONDS = 0.3
WAIT_SECONDS = 60.0
SETTLED = (Deployment.STATE_READY, Deployment.STATE_FAILED)


def wait_for(at: Session, wanted: Deployment, seconds: float) -> None:
    """Create it and show how it stands once it is ready, has failed, or the time is over."""
    found = at.penstock.deployments.CreateDeployment(pb.CreateDeploymentRequest(deployment=wanted)).deployment
    deadline = time.monotonic() + seconds
    while found.state not in SETTLED and time.monotonic() < deadline:
        time.sleep(EVERY_SECONDS)
        asked = pb.GetDeploymentRequest(model=wanted.model, version=wanted.version)
        found = at.penstock.deployments.GetDeployment(asked).deployment
    _show(at, [found])
    if seconds and found.state != Deployment.STATE_READY:
        fail(
            "It is not ready on every server.",
            "`penstock deploy list` shows the servers' own words; it is tried again meanwhile.",
        )


@app.command()
def create(
    context: typer.Context,
    model: str,
    version: str,
    server: Annotated[list[str], typer.Option(help="default: every server")] = [],
    wait: Annotated[float, typer.Option(help="seconds to wait until it is ready; 0 does not wait")] = WAIT_SECONDS,
) -> None:
    """Deploy a version; returns when every server has it."""
    wait_for(session(context), Deployment(model=model, version=version, servers=server), wait)


@app.command("list")
def list_deployments(context: typer.Context, model: Annotated[str, typer.Argument()] = "") -> None:
    """What is wanted where, and how it stands."""
    at = session(context)
    request = pb.ListDeploymentsRequest(model=model)
    _show(at, list(every(at.penstock.deployments.ListDeployments, request, "deployments")))


@app.command()
def delete(
    context: typer.Context,
    model: str,
    version: str,
    force: Annotated[bool, typer.Option("--force", help="also while a route or an experiment names it")] = False,
) -> None:
    """Take a version off its servers: traffic first, then the model."""
    at = session(context)
    at.penstock.deployments.DeleteDeployment(pb.DeleteDeploymentRequest(model=model, version=version, force=force))
    at.console.print(f"{model} version {version} is being taken off its servers")


@app.command()
def servers(context: typer.Context) -> None:
    """Every server."""
    at = session(context)
    found = every(at.penstock.deployments.ListServers, pb.ListServersRequest(), "servers")
    rows = [(s.name, s.address, "yes" if s.reachable else "no", s.server_version) for s in found]
    at.table(("server", "address", "reachable", "Triton"), rows, "No servers yet: `penstock deploy add-server`.")


@app.command("add-server")
def add_server(
    context: typer.Context,
    name: str,
    address: Annotated[str, typer.Argument(help="host:port of its gRPC endpoint")],
    repository: Annotated[str, typer.Option(help="its model repository, as model_serving sees it")] = "",
    metrics: Annotated[str, typer.Option(help="host:port of its /metrics")] = "",
) -> None:
    """Add a Triton that is already running."""
    at = session(context)
    made = Server(name=name, address=address, repository_path=repository, metrics_address=metrics)
    at.penstock.deployments.CreateServer(pb.CreateServerRequest(server=made))
    at.console.print(f"{name} at {address} is a server now")


@app.command("remove-server")
def remove_server(context: typer.Context, name: str) -> None:
    """Forget a server."""
    at = session(context)
    at.penstock.deployments.DeleteServer(pb.DeleteServerRequest(name=name))
    at.console.print(f"{name} is forgotten")


def _show(at: Session, deployments: list[Deployment]) -> None:
    rows = [
        (d.model, d.version, Deployment.State.Name(d.state).removeprefix("STATE_"), _placements(d)) for d in deployments
    ]
    at.table(
        ("model", "version", "state", "servers"), rows, "Nothing is deployed: `penstock deploy create MODEL VERSION`."
    )


def _placements(deployment: Deployment) -> str:
    said = []
    for placement in deployment.placements:
        state = Placement.State.Name(placement.state).removeprefix("STATE_")
        said.append(f"{placement.server} {state}" + (f" ({placement.message})" if placement.message else ""))
    return ", ".join(said)
