"""A model on two servers, one of which is reached through the proxy that may go wrong."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

from deploy.local.places import admin_key
from deploy.local.stack import Stack
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.deployment_pb2 import Deployment, Server
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import Route
from penstock_client import Penstock
from tests.models import shift

MODEL, FAULTY, SOUND = "shift", "c", "a"
READY_SECONDS = 60.0


def key_of(stack: Stack) -> str:
    """The first key of all, which routing has made."""
    return admin_key(stack.places.home).read_text().strip()


def penstock_of(stack: Stack) -> Penstock:
    return Penstock(stack.address("ingress"), api_key=key_of(stack))


def serve(stack: Stack, penstock: Penstock, address: str) -> None:
    """Registers the faulty server at this address, which leads to Triton b, and serves the model on it and on a."""
    added = Server(name=FAULTY, address=address, repository_path=str(stack.repository("b")))
    penstock.deployments.CreateServer(dep.CreateServerRequest(server=added))
    penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name=MODEL)))
    digest = penstock.models.UploadArtifact(iter([reg.UploadArtifactRequest(chunk=shift(1))]), timeout=10).digest
    version = ModelVersion(model=MODEL, version="1", onnx_digest=digest)
    penstock.models.CreateModelVersion(reg.CreateModelVersionRequest(model_version=version))
    wanted = Deployment(model=MODEL, version="1", servers=[SOUND, FAULTY])
    penstock.deployments.CreateDeployment(dep.CreateDeploymentRequest(deployment=wanted))
    penstock.routing.CreateRoute(rt.CreateRouteRequest(route=Route(model=MODEL, default_version="1")))
    await_servers(penstock)


def included(penstock: Penstock) -> int:
    """How many servers the policy that Envoy acknowledged has calls go to."""
    explanation = penstock.routing.ExplainRoute(rt.ExplainRouteRequest(model=MODEL)).explanation
    return sum(endpoint.included for endpoint in explanation.endpoints)


def await_servers(penstock: Penstock) -> None:
    """Until both take calls. Raises TimeoutError."""
    _until(lambda: included(penstock) == 2)


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except grpc.RpcError:
            pass  # a service that was down may not answer yet
        time.sleep(0.2)
    raise TimeoutError("the two servers do not both take calls")
