"""model: the registry."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import grpc
import typer

from clients.cli import deploy
from clients.cli.failures import fail, words
from clients.cli.pages import every
from clients.cli.session import Session, session
from penstock.model_serving.v1 import model_registry_service_pb2 as pb
from penstock.model_serving.v1.deployment_pb2 import Deployment
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion, Stage
from penstock.routing.v1.route_pb2 import Route
from penstock.routing.v1.routing_service_pb2 import CreateRouteRequest

app = typer.Typer(help="Models and their immutable versions.", no_args_is_help=True)
CHUNK_BYTES = 1024 * 1024
UPLOAD_SECONDS = 300.0


@app.command()
def register(
    context: typer.Context,
    name: str,
    file: Annotated[Path | None, typer.Argument(help="an ONNX file", exists=True, dir_okay=False)] = None,
    version: Annotated[str, typer.Option(help="default: the next number")] = "",
    feature_service: Annotated[str, typer.Option(help="its features are the columns of the input tensor")] = "",
    label: Annotated[list[str], typer.Option(help="class names, in the order of the probabilities")] = [],
    external: Annotated[bool, typer.Option(help="the servers have it in a repository of their own")] = False,
    stage: Annotated[str, typer.Option(help="development, staging, production or archived")] = "development",
    serve: Annotated[bool, typer.Option("--serve", help="deploy it, and route the model if it has no route")] = False,
    server: Annotated[list[str], typer.Option(help="with --serve: only there; default every server")] = [],
) -> None:
    """Register a version of a model, and the model with it if it is new."""
    if (file is None) != external:
        raise typer.BadParameter("name an ONNX file, or say --external")
    at = session(context)
    models = at.penstock.models
    # first: a file that is refused must leave no model behind
    digest = models.UploadArtifact(_chunks(file), timeout=UPLOAD_SECONDS).digest if file else ""
    _unless_there(lambda: models.CreateModel(pb.CreateModelRequest(model=Model(name=name))))
    made = ModelVersion(
        model=name,
        version=version or _next(at, name),
        stage=_stage(stage),
        feature_service=feature_service,
        class_labels=label,
    )
    if external:
        made.external = True
    else:
        made.onnx_digest = digest
    stored = models.CreateModelVersion(pb.CreateModelVersionRequest(model_version=made)).model_version
    at.console.print(f"{name} version {stored.version} is registered: {_signature(stored)}")
    if serve:
        _serve(at, name, stored.version, server)


def _serve(at: Session, name: str, version: str, servers: list[str]) -> None:
    """Deploy it, and route the model if it has no route; a failure says what remains to do."""
    registered = f"{name} version {version} stays registered."
    deploying = " ".join([f"penstock deploy create {name} {version}", *(f"--server {server}" for server in servers)])
    routing = f"`penstock route create {name} --version {version}`"
    with _remains(
        at, f"{registered} To serve it: `{deploying}`, then {routing}.", f"{registered} Once ready: {routing}."
    ):
        deploy.wait_for(at, Deployment(model=name, version=version, servers=servers), deploy.WAIT_SECONDS)
    with _remains(at, f"{registered} It is deployed. To route calls to it: {routing}."):
        made_route = Route(model=name, default_version=version)
        if _unless_there(lambda: at.penstock.routing.CreateRoute(CreateRouteRequest(route=made_route))):
            at.console.print(f"calls to {name} go to version {version}")
        else:
            at.console.print(f"{name} has a route already: `penstock route update {name} --version {version}`")


@contextmanager
def _remains(at: Session, refused: str, unready: str = "") -> Generator[None]:
    """Add to a failure's words what is left to do: after a refused call, or after one that came to no good end."""
    try:
        yield
    except grpc.RpcError as error:
        what, then = words(error, at.address)
        fail(what, f"{then}\n{refused}".strip())
    except SystemExit:
        sys.stderr.write(f"{unready}\n")
        raise


def _unless_there(create: Callable[[], object]) -> bool:
    """Whether it was created; False when it exists already."""
    try:
        create()
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise
        return False
    return True


@app.command("list")
def list_models(context: typer.Context) -> None:
    """Every model."""
    at = session(context)
    found = every(at.penstock.models.ListModels, pb.ListModelsRequest(), "models")
    rows = [(m.name, m.owner, m.description) for m in found]
    at.table(("model", "owner", "description"), rows, "No models yet: `penstock model register NAME FILE` adds one.")


@app.command()
def show(context: typer.Context, name: str) -> None:
    """A model's versions."""
    at = session(context)
    rows = [(v.version, _stage_name(v.stage), v.feature_service, _signature(v)) for v in _versions(at, name)]
    at.table(("version", "stage", "feature service", "signature"), rows, f"{name} has no versions yet.")


@app.command("stage")
def set_stage(context: typer.Context, name: str, version: str, stage: str) -> None:
    """Say how far a version has come."""
    at = session(context)
    wanted = ModelVersion(model=name, version=version, stage=_stage(stage))
    request = pb.UpdateModelVersionRequest(model_version=wanted)
    request.update_mask.paths.append("stage")
    stored = at.penstock.models.UpdateModelVersion(request).model_version
    at.console.print(f"{name} version {version} is in {_stage_name(stored.stage)}")


def _versions(at: Session, name: str) -> list[ModelVersion]:
    return list(every(at.penstock.models.ListModelVersions, pb.ListModelVersionsRequest(model=name), "model_versions"))


def _next(at: Session, name: str) -> str:
    return str(max((int(v.version) for v in _versions(at, name)), default=0) + 1)


def _chunks(file: Path) -> Iterator[pb.UploadArtifactRequest]:
    with file.open("rb") as opened:
        while chunk := opened.read(CHUNK_BYTES):
            yield pb.UploadArtifactRequest(chunk=chunk)


def _stage(name: str) -> Stage:
    try:
        return Stage.Value(f"STAGE_{name.upper()}")
    except ValueError:
        raise typer.BadParameter(f"no stage {name!r}: development, staging, production or archived") from None


def _stage_name(stage: Stage) -> str:
    return Stage.Name(stage).removeprefix("STAGE_").lower()


def _signature(version: ModelVersion) -> str:
    if version.external and not (version.signature.inputs or version.signature.outputs):
        return "its signature will be read from the server that serves it"
    sides = (version.signature.inputs, version.signature.outputs)
    return " -> ".join(", ".join(f"{t.name} {t.datatype}{list(t.shape)}" for t in side) for side in sides)
