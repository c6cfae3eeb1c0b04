"""Siblings of routing that publish what a test says, over real gRPC, on the ports where the mesh looks for them."""

import grpc

from libs.errors import NotFound
from libs.interceptors import ServiceInterceptor
from libs.watch import Publisher
from penstock.experimentation.v1 import experimentation_service_pb2 as experimentation
from penstock.experimentation.v1.experiment_pb2 import Allocation, BucketRange
from penstock.experimentation.v1.experimentation_service_pb2_grpc import (
    ExperimentationServiceServicer,
    add_ExperimentationServiceServicer_to_server,
)
from penstock.health_monitoring.v1 import health_monitoring_service_pb2 as health_monitoring
from penstock.health_monitoring.v1.health_monitoring_service_pb2_grpc import (
    HealthMonitoringServiceServicer,
    add_HealthMonitoringServiceServicer_to_server,
)
from penstock.health_monitoring.v1.health_pb2 import TARGET_KIND_SERVER, TargetHealth
from penstock.model_serving.v1 import deployment_service_pb2 as model_serving
from penstock.model_serving.v1 import model_registry_service_pb2 as registry
from penstock.model_serving.v1.deployment_pb2 import Deployment, Placement
from penstock.model_serving.v1.deployment_service_pb2_grpc import (
    DeploymentServiceServicer,
    add_DeploymentServiceServicer_to_server,
)
from penstock.model_serving.v1.model_registry_service_pb2_grpc import (
    ModelRegistryServiceServicer,
    add_ModelRegistryServiceServicer_to_server,
)

UNREGISTERED = "77"
"""The one version that no model has."""


class Siblings(
    DeploymentServiceServicer,
    ModelRegistryServiceServicer,
    ExperimentationServiceServicer,
    HealthMonitoringServiceServicer,
):
    """model_serving, experimentation and health_monitoring, as far as routing hears them.

    `together`, if any, is waited for before a version is told of.
    """

    def __init__(self):
        self.fleet = Publisher()
        self.allocations = Publisher()
        self.health = Publisher()
        self.together = None
        self._servers = []

    async def start(self, ports):
        add = {
            "model_serving": add_DeploymentServiceServicer_to_server,
            "experimentation": add_ExperimentationServiceServicer_to_server,
            "health_monitoring": add_HealthMonitoringServiceServicer_to_server,
        }
        for name, add_to in add.items():
            server = grpc.aio.server(interceptors=[ServiceInterceptor()])
            add_to(self, server)
            if name == "model_serving":
                add_ModelRegistryServiceServicer_to_server(self, server)
            server.add_insecure_port(f"127.0.0.1:{ports[name]}")
            await server.start()
            self._servers.append(server)

    async def stop(self):
        for server in self._servers:
            await server.stop(0)
        self._servers.clear()

    def say_all_is_well(self):
        """Nothing deployed, no experiment, everybody healthy."""
        for publisher in (self.fleet, self.allocations, self.health):
            publisher.publish([])

    async def GetModelVersion(self, request, context):
        if self.together:
            await self.together.wait()
        if request.version == UNREGISTERED:
            raise NotFound("MODEL_VERSION_NOT_FOUND", "no such version")
        return registry.GetModelVersionResponse()

    async def WatchDeployments(self, request, context):
        async for said in self.fleet.watch(request.last_revision):
            for part in parts(said, request, model_serving.WatchDeploymentsResponse, "deployments"):
                yield part

    async def WatchAllocations(self, request, context):
        async for said in self.allocations.watch(request.last_revision):
            for part in parts(said, request, experimentation.WatchAllocationsResponse, "allocations"):
                yield part

    async def WatchHealth(self, request, context):
        async for said in self.health.watch(request.last_revision):
            for part in parts(said, request, health_monitoring.WatchHealthResponse, "targets"):
                yield part


def parts(said, request, response, field):
    if said is None:
        yield response(revision=request.last_revision, complete=True, unchanged=True)
        return
    for items, last in said.parts():
        yield response(revision=said.revision, complete=last, **{field: items})


def deployment(model, version, **addresses):
    """Ready on each of the servers: `deployment("m", "1", a="127.0.0.1:8001")`."""
    placed = [
        Placement(server=server, address=address, state=Placement.STATE_READY) for server, address in addresses.items()
    ]
    return Deployment(model=model, version=version, state=Deployment.STATE_READY, placements=placed)


def allocation(experiment, model, salt, *ranges):
    """`ranges` are (start, end, variant, version)."""
    owned = [BucketRange(start=s, end=e, variant=variant, version=version) for s, e, variant, version in ranges]
    return Allocation(experiment=experiment, model=model, salt=salt, ranges=owned)


def server_health(server, *, receives_traffic, reason=""):
    return TargetHealth(
        target=f"server/{server}",
        kind=TARGET_KIND_SERVER,
        server=server,
        receives_traffic=receives_traffic,
        reason=reason,
    )
