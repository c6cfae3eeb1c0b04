"""What health_monitoring hears of servers, deployments and allocations, as a test says it, over real gRPC."""

from __future__ import annotations

import grpc

from libs.watch import Publisher
from penstock.experimentation.v1 import experimentation_service_pb2 as experimentation
from penstock.experimentation.v1.experimentation_service_pb2_grpc import (
    ExperimentationServiceServicer,
    add_ExperimentationServiceServicer_to_server,
)
from penstock.model_serving.v1 import deployment_service_pb2 as model_serving
from penstock.model_serving.v1 import model_registry_service_pb2 as registry
from penstock.model_serving.v1.deployment_pb2 import Deployment, Placement, Server
from penstock.model_serving.v1.deployment_service_pb2_grpc import (
    DeploymentServiceServicer,
    add_DeploymentServiceServicer_to_server,
)
from penstock.model_serving.v1.model_registry_service_pb2_grpc import (
    ModelRegistryServiceServicer,
    add_ModelRegistryServiceServicer_to_server,
)


class Owner(DeploymentServiceServicer, ModelRegistryServiceServicer, ExperimentationServiceServicer):
    """model_serving, and an experimentation without experiments, on the ports where the mesh looks for them."""

    def __init__(self, ports) -> None:
        self._ports = ports
        self._deployments = Publisher()
        self._allocations = Publisher()
        self._allocations.publish([])
        self._running = []
        self._servers = []

    async def start(self) -> None:
        for name, add_to in (
            ("model_serving", add_DeploymentServiceServicer_to_server),
            ("experimentation", add_ExperimentationServiceServicer_to_server),
        ):
            server = grpc.aio.server()
            add_to(self, server)
            if name == "model_serving":
                add_ModelRegistryServiceServicer_to_server(self, server)
            assert server.add_insecure_port(f"127.0.0.1:{self._ports[name]}")
            await server.start()
            self._running.append(server)

    async def stop(self) -> None:
        for server in self._running:
            await server.stop(0)
        self._running.clear()

    def say(self, servers: dict[str, str], deployed: dict[tuple[str, str], tuple[str, ...]], state="READY") -> None:
        """Servers by name with their addresses; model versions with the servers that have them."""
        self._servers = [Server(name=name, address=address) for name, address in servers.items()]
        self._deployments.publish(
            Deployment(
                model=model,
                version=version,
                servers=on,
                state=Deployment.STATE_READY,
                placements=[
                    Placement(server=name, address=servers[name], state=Placement.State.Value(f"STATE_{state}"))
                    for name in on
                ],
            )
            for (model, version), on in deployed.items()
        )

    async def GetModelVersion(self, request, context):
        """Whatever is asked for is registered."""
        return registry.GetModelVersionResponse()

    async def ListServers(self, request, context):
        later = [server for server in self._servers if server.name > request.page_token]
        page = later[:1]  # one a page, so that a reader which forgets the second is found out
        token = page[0].name if len(later) > 1 else ""
        return model_serving.ListServersResponse(servers=page, next_page_token=token)

    async def WatchDeployments(self, request, context):
        async for part in _told(self._deployments, request, model_serving.WatchDeploymentsResponse, "deployments"):
            yield part

    async def WatchAllocations(self, request, context):
        async for part in _told(self._allocations, request, experimentation.WatchAllocationsResponse, "allocations"):
            yield part


async def _told(publisher, request, response, field):
    async for snapshot in publisher.watch(request.last_revision):
        if snapshot is None:
            yield response(revision=request.last_revision, complete=True, unchanged=True)
            continue
        for items, last in snapshot.parts():
            yield response(revision=snapshot.revision, complete=last, **{field: items})
