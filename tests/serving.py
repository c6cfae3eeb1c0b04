"""From files to a route that Envoy serves, through the ingress, as a client would."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.experimentation.v1 import experimentation_service_pb2 as exp
from penstock.experimentation.v1.experiment_pb2 import Allocation, Experiment, Variant
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.deployment_pb2 import Deployment
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.explanation_pb2 import Explanation
from penstock.routing.v1.route_pb2 import Route
from penstock_client import Penstock
from tests.models import WIDTH, shift
from tests.polling import eventually

READY_SECONDS = 60


def serve_shift(penstock: Penstock, model: str, versions: Iterable[int], **route) -> None:
    """Register, deploy and route versions of `shift` under a name; returns when two servers take its traffic."""
    versions = list(versions)
    penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name=model)))
    for version in versions:
        register_shift(penstock, model, version)
        deploy(penstock, model, str(version))
    made = Route(model=model, default_version=str(versions[0]), **route)
    penstock.routing.CreateRoute(rt.CreateRouteRequest(route=made))
    await_servers(penstock, model, 2)


def register_shift(penstock: Penstock, model: str, version: int, width: int = WIDTH) -> None:
    chunks = iter([reg.UploadArtifactRequest(chunk=shift(version, width))])
    digest = penstock.models.UploadArtifact(chunks, timeout=10).digest
    made = ModelVersion(model=model, version=str(version), onnx_digest=digest)
    penstock.models.CreateModelVersion(reg.CreateModelVersionRequest(model_version=made))


def deploy(penstock: Penstock, model: str, version: str) -> None:
    wanted = Deployment(model=model, version=version)
    penstock.deployments.CreateDeployment(dep.CreateDeploymentRequest(deployment=wanted))

    def ready() -> bool:
        asked = dep.GetDeploymentRequest(model=model, version=version)
        return penstock.deployments.GetDeployment(asked).deployment.state == Deployment.STATE_READY

    eventually(ready, within=READY_SECONDS, message=f"{model}/{version} is ready on its servers")


def start_experiment(penstock: Penstock, experiment: Experiment) -> Allocation:
    """Create and start it; returns when Envoy splits by it."""
    penstock.experiments.CreateExperiment(exp.CreateExperimentRequest(experiment=experiment))
    started = penstock.experiments.StartExperiment(exp.StartExperimentRequest(name=experiment.name))
    eventually(
        lambda: any(share.experiment == experiment.name for share in explain(penstock, experiment.model).shares),
        within=READY_SECONDS,
        message="Envoy splits by the experiment",
    )
    return started.allocation


def halves(name: str, model: str, **more) -> Experiment:
    """Versions 1 and 2, half each."""
    variants = [Variant(name="one", version="1", weight=5000), Variant(name="two", version="2", weight=5000)]
    return Experiment(name=name, model=model, variants=variants, **more)


def explain(penstock: Penstock, model: str, unit: str = "", version: str = "") -> Explanation:
    asked = rt.ExplainRouteRequest(model=model, unit=unit, version=version)
    return penstock.routing.ExplainRoute(asked).explanation


def servers(penstock: Penstock, model: str) -> int:
    """How many servers take its calls, by the policy that Envoy acknowledged."""
    return sum(endpoint.included for endpoint in explain(penstock, model).endpoints)


def await_servers(penstock: Penstock, model: str, count: int, within: float = READY_SECONDS) -> None:
    eventually(
        lambda: servers(penstock, model) == count, within=within, message=f"{count} servers take calls to {model}"
    )
