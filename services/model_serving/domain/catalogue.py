"""What is deployed where, held in memory: predictions go on from it while the store is away."""

from collections.abc import Sequence
from dataclasses import dataclass

from libs.errors import NotFound, Precondition
from services.model_serving.domain.deployment import Deployment, Server
from services.model_serving.domain.model import ModelVersion


@dataclass(frozen=True)
class Deployed:
    """Everything that callers of models need to know, at one moment."""

    deployments: tuple[Deployment, ...] = ()
    """By model, then version number."""
    versions: tuple[ModelVersion, ...] = ()
    """Those that are deployed."""
    servers: tuple[Server, ...] = ()


class Catalogue:
    """All methods belong to one event loop."""

    def __init__(self) -> None:
        self.loaded = False
        self.servers: tuple[Server, ...] = ()
        self._versions: dict[tuple[str, str], ModelVersion] = {}
        self._deployments: dict[str, list[Deployment]] = {}

    def replace(self, deployed: Deployed) -> None:
        self.loaded = True
        self._versions = {(v.model, v.version): v for v in deployed.versions}
        self._deployments = {}
        for deployment in deployed.deployments:
            self._deployments.setdefault(deployment.model, []).append(deployment)
        self.servers = deployed.servers

    def deployments(self, model: str = "") -> Sequence[Deployment]:
        """Of a model, or, without one, of all."""
        if model:
            return self._deployments.get(model, ())
        return [deployment for those in self._deployments.values() for deployment in those]

    def version(self, model: str, version: str) -> ModelVersion | None:
        """None when it is not deployed."""
        return self._versions.get((model, version))

    def ready_address(self, model: str, version: str = "") -> str | None:
        """Of a server that has the version ready; without one, the newest that any has ready."""
        for deployment in reversed(self.deployments(model)):
            if version in ("", deployment.version) and deployment.ready_addresses():
                return deployment.ready_addresses()[0]
        return None

    def serving(self, model: str) -> Sequence[ModelVersion]:
        """Versions to which the route may lead: those that are ready somewhere or, when none is, those deployed."""
        deployments = [d for d in self.deployments(model) if not d.deleting]
        ready = [d for d in deployments if d.ready_addresses()]
        found = (self.version(d.model, d.version) for d in ready or deployments)
        return [version for version in found if version is not None]


def difference(versions: Sequence[ModelVersion]) -> str:
    """In which way two of them are asked for differently; empty when all are asked for in the same way."""
    first = versions[0]
    for other in versions[1:]:
        differences = [
            f"{what} ({one} against {two})"
            for what, one, two in (
                ("feature service", first.feature_service or "none", other.feature_service or "none"),
                ("inputs", _inputs(first), _inputs(other)),
            )
            if one != two
        ]
        if differences:
            return f"versions {first.version} and {other.version}, which differ in {' and '.join(differences)}"
    return ""


def ambiguous(model: str, why: str) -> Precondition:
    """How to ask is not settled."""
    return Precondition(
        "SIGNATURE_MISSING", f"{why}: name the version in the request, or call with tensors", model=model
    )


def not_deployed(model: str) -> NotFound:
    return NotFound("DEPLOYMENT_NOT_FOUND", f"no version of model {model!r} is deployed", model=model)


def _inputs(version: ModelVersion) -> str:
    batch = "batched " if version.max_batch_size else ""
    return batch + (", ".join(map(str, version.signature.inputs)) or "unknown")
