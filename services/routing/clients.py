"""What the owners of deployments, allocations and health say, followed for ever; and their registry, asked."""

import logging
from collections.abc import AsyncIterator, Iterable

import grpc

from libs import watch
from libs.errors import NotFound
from libs.statuses import from_sibling
from penstock.experimentation.v1 import experimentation_service_pb2 as experimentation
from penstock.experimentation.v1.experiment_pb2 import Allocation as SaidAllocation
from penstock.experimentation.v1.experimentation_service_pb2_grpc import ExperimentationServiceStub
from penstock.health_monitoring.v1 import health_monitoring_service_pb2 as health_monitoring
from penstock.health_monitoring.v1.health_monitoring_service_pb2_grpc import HealthMonitoringServiceStub
from penstock.health_monitoring.v1.health_pb2 import (
    TARGET_KIND_MODEL_VERSION,
    TARGET_KIND_SERVER,
    TargetHealth,
)
from penstock.model_serving.v1 import deployment_service_pb2 as model_serving
from penstock.model_serving.v1.deployment_pb2 import Deployment as SaidDeployment
from penstock.model_serving.v1.deployment_pb2 import Placement
from penstock.model_serving.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from penstock.model_serving.v1.model_registry_service_pb2 import GetModelVersionRequest
from penstock.model_serving.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from services.routing.domain.known import Deployed, Judged
from services.routing.domain.policy import Allocation, Deployment, ModelVersion, Range, Server, ServerWeight, Unhealthy

log = logging.getLogger(__name__)

ASK_SECONDS = 2.0
"""Long enough to connect again to a mesh listener that has just come up."""


async def follow_deployed(mesh: grpc.aio.Channel) -> AsyncIterator[Deployed]:
    """Servers and ready deployments, from model_serving."""
    stub = DeploymentServiceStub(mesh)
    async for said in watch.follow(
        "model_serving",
        lambda last: stub.WatchDeployments(model_serving.WatchDeploymentsRequest(last_revision=last)),
        lambda part: part.deployments,
    ):
        yield deployed(said.items)


async def follow_allocations(mesh: grpc.aio.Channel) -> AsyncIterator[tuple[Allocation, ...]]:
    """Running experiments, from experimentation."""
    stub = ExperimentationServiceStub(mesh)
    async for said in watch.follow(
        "experimentation",
        lambda last: stub.WatchAllocations(experimentation.WatchAllocationsRequest(last_revision=last)),
        lambda part: part.allocations,
    ):
        yield allocations(said.items)


async def follow_health(mesh: grpc.aio.Channel) -> AsyncIterator[Judged]:
    """Targets that must get no traffic and servers' weights, from health_monitoring."""
    stub = HealthMonitoringServiceStub(mesh)
    async for said in watch.follow(
        "health_monitoring",
        lambda last: stub.WatchHealth(health_monitoring.WatchHealthRequest(last_revision=last)),
        lambda part: part.targets,
    ):
        yield Judged(unhealthy(said.items), weights(said.items))


class Registry:
    """model_serving's, through the mesh listener."""

    def __init__(self, mesh: grpc.aio.Channel) -> None:
        self._stub = ModelRegistryServiceStub(mesh)

    async def has(self, target: ModelVersion) -> bool:
        """Whether the version is registered. Raises Unavailable."""
        asked = GetModelVersionRequest(model=target.model, version=target.version)
        try:
            await self._stub.GetModelVersion(asked, timeout=ASK_SECONDS, wait_for_ready=True)
        except grpc.aio.AioRpcError as error:
            refusal = from_sibling(error, "model_serving")
            if isinstance(refusal, NotFound):
                return False
            raise refusal from error
        return True


def deployed(said: Iterable[SaidDeployment]) -> Deployed:
    """Only READY placements may get traffic; a version that is being taken off is no longer deployed."""
    servers: dict[str, Server] = {}
    deployments: list[Deployment] = []
    looked_at: set[tuple[str, str]] = set()  # few servers, many placements
    for deployment in said:
        for placement in deployment.placements:
            place = (placement.server, placement.address)
            if place in looked_at:
                continue
            looked_at.add(place)
            server = _server(placement)
            if server is not None:
                servers[server.id] = server
        if deployment.state != SaidDeployment.STATE_DELETING:
            ready = {p.server for p in deployment.placements if p.state == Placement.STATE_READY}
            deployments.append(Deployment(deployment.model, deployment.version, tuple(sorted(ready & servers.keys()))))
    return Deployed(
        tuple(sorted(servers.values(), key=lambda server: server.id)),
        tuple(sorted(deployments, key=lambda deployment: (deployment.model, deployment.version))),
    )


def allocations(said: Iterable[SaidAllocation]) -> tuple[Allocation, ...]:
    found = (
        Allocation(
            allocation.experiment,
            allocation.model,
            allocation.salt,
            tuple(Range(owned.start, owned.end, owned.variant, owned.version) for owned in allocation.ranges),
        )
        for allocation in said
    )
    return tuple(sorted(found, key=lambda allocation: allocation.experiment))


def unhealthy(said: Iterable[TargetHealth]) -> tuple[Unhealthy, ...]:
    """Whether a target gets traffic is health_monitoring's own word, not a rule of ours on its states."""
    kinds = (TARGET_KIND_SERVER, TARGET_KIND_MODEL_VERSION)
    found = (
        Unhealthy(health.server, health.reason, health.model, health.version)
        for health in said
        if health.kind in kinds and not health.receives_traffic
    )
    return tuple(sorted(found, key=lambda target: (target.server, target.model, target.version)))


def weights(said: Iterable[TargetHealth]) -> tuple[ServerWeight, ...]:
    """Of servers; none from a health_monitoring that does not weigh yet."""
    found = (
        ServerWeight(health.server, health.weight, health.weight_reason)
        for health in said
        if health.kind == TARGET_KIND_SERVER and health.weight
    )
    return tuple(sorted(found, key=lambda weight: weight.server))


def _server(placement: Placement) -> Server | None:
    host, _, port = placement.address.rpartition(":")
    if not (placement.server and host and port.isdigit()):
        log.error("server %r has no usable address: %r; it gets no traffic", placement.server, placement.address)
        return None
    return Server(placement.server, host.strip("[]"), int(port))
