"""From three ONNX files to a running experiment: register, deploy, route, price, start."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from deploy.local.places import admin_key
from deploy.local.stack import Stack
from examples.flights.features import SERVICE
from examples.flights.training import Trained
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as cost
from penstock.cost_tracking.v1.price_pb2 import METER_COMPUTE_SECOND, METER_REQUEST, Meter, Price
from penstock.experimentation.v1 import experimentation_service_pb2 as exp
from penstock.experimentation.v1.experiment_pb2 import Experiment, Variant
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.deployment_pb2 import Deployment
from penstock.model_serving.v1.model_pb2 import STAGE_PRODUCTION, Model, ModelVersion
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import LOAD_BALANCING_LEAST_REQUEST, Route
from penstock_client import Penstock

MODEL = "flight-delay"
EXPERIMENT = "boosting-vs-logistic"
LABELS = ("on time", "late")
MINIMUM_LIFT = 0.02
CHUNK_BYTES = 512 * 1024
READY_SECONDS = 60.0
# nano-dollars a request, by version; and one price of compute for all
REQUEST_PRICES = {"1": "2000", "2": "5000", "3": "500"}
COMPUTE_SECOND_PRICE = "300000"


class NotReady(Exception):
    """Something did not become ready in time; the message says what."""


def first_key(stack: Stack) -> str:
    """The key that the stack made for its first admin; returns when the ingress knows it."""
    file = admin_key(stack.places.home)
    wait_until(file.exists, "the first key is made")
    key = file.read_text("ascii").strip()

    def known() -> bool:
        with Penstock(stack.address("ingress"), api_key=key) as penstock:
            try:
                penstock.routing.ListRoutes(rt.ListRoutesRequest())
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED:
                    raise
                return False
            return True

    wait_until(known, "the ingress knows the first key")
    return key


def register(penstock: Penstock, trained: Iterable[Trained]) -> None:
    penstock.models.CreateModel(
        reg.CreateModelRequest(model=Model(name=MODEL, description="leaves more than 15 minutes late?"))
    )
    for version in trained:
        digest = penstock.models.UploadArtifact(_chunks(version.onnx), timeout=30).digest
        penstock.models.CreateModelVersion(
            reg.CreateModelVersionRequest(
                model_version=ModelVersion(
                    model=MODEL,
                    version=version.version,
                    stage=STAGE_PRODUCTION,
                    onnx_digest=digest,
                    feature_service=SERVICE,
                    class_labels=LABELS,
                )
            )
        )


def deploy(penstock: Penstock, versions: Iterable[str]) -> None:
    """On every server; returns when all are ready there."""
    versions = list(versions)
    for version in versions:
        penstock.deployments.CreateDeployment(
            dep.CreateDeploymentRequest(deployment=Deployment(model=MODEL, version=version))
        )

    def ready() -> bool:
        listed = penstock.deployments.ListDeployments(dep.ListDeploymentsRequest(model=MODEL)).deployments
        return len(listed) == len(versions) and all(d.state == Deployment.STATE_READY for d in listed)

    wait_until(ready, "every version is loaded on every server")


def route(penstock: Penstock) -> None:
    """Version 1 for all, version 3 when it fails; returns when Envoy serves it."""
    penstock.routing.CreateRoute(
        rt.CreateRouteRequest(
            route=Route(
                model=MODEL,
                default_version="1",
                fallback_versions=["3"],
                load_balancing=LOAD_BALANCING_LEAST_REQUEST,
            )
        )
    )

    def served() -> bool:
        explained = penstock.routing.ExplainRoute(rt.ExplainRouteRequest(model=MODEL, unit="anyone")).explanation
        return sum(endpoint.included for endpoint in explained.endpoints) > 1

    wait_until(served, "Envoy serves the route")


def set_prices(penstock: Penstock) -> None:
    start = Timestamp()
    start.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))

    def price(meter: Meter, nanodollars: str, version: str = "") -> None:
        model = MODEL if version else ""
        made = Price(meter=meter, model=model, version=version, nanodollars_per_unit=nanodollars, effective_from=start)
        penstock.costs.CreatePrice(cost.CreatePriceRequest(price=made))

    for version, nanodollars in REQUEST_PRICES.items():
        price(METER_REQUEST, nanodollars, version)
    price(METER_COMPUTE_SECOND, COMPUTE_SECOND_PRICE)


def start_experiment(penstock: Penstock) -> None:
    """Half of the tail numbers get version 2; returns when Envoy splits so."""
    experiment = Experiment(
        name=EXPERIMENT,
        model=MODEL,
        variants=[
            Variant(name="logistic", version="1", weight=5000),
            Variant(name="boosting", version="2", weight=5000),
        ],
        minimum_lift=MINIMUM_LIFT,
        description="a success is a flight whose delay was foretold rightly",
    )
    penstock.experiments.CreateExperiment(exp.CreateExperimentRequest(experiment=experiment))
    penstock.experiments.StartExperiment(exp.StartExperimentRequest(name=EXPERIMENT))

    def split() -> bool:
        explained = penstock.routing.ExplainRoute(rt.ExplainRouteRequest(model=MODEL, unit="anyone")).explanation
        return explained.experiment == EXPERIMENT

    wait_until(split, "Envoy splits by the experiment")


def wait_until(true: Callable[[], bool], what: str, within: float = READY_SECONDS) -> None:
    """Ask until true. A service that is not there yet is asked again; NotReady after `within` seconds."""
    deadline = time.monotonic() + within
    last = ""
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except grpc.RpcError as error:
            last = f"; last answer: {error.code().name} {error.details()}"
        time.sleep(0.1)
    raise NotReady(f"not within {within:.0f} s: {what}{last}")


def _chunks(data: bytes) -> Iterator[reg.UploadArtifactRequest]:
    for start in range(0, len(data), CHUNK_BYTES):
        yield reg.UploadArtifactRequest(chunk=data[start : start + CHUNK_BYTES])
