"""DeploymentService, and the watch that it feeds."""

import asyncio
import logging
from collections import Counter as Counts
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol

import grpc
from prometheus_client import Counter, Gauge

from libs.clock import Clock
from libs.errors import PenstockError, collecting
from libs.paging import Page, page
from libs.watch import Publisher
from penstock.model_serving.v1 import deployment_pb2
from penstock.model_serving.v1 import deployment_service_pb2 as pb
from penstock.model_serving.v1.deployment_service_pb2_grpc import (
    DeploymentServiceServicer,
    add_DeploymentServiceServicer_to_server,
)
from services.model_serving.domain.catalogue import Catalogue, Deployed
from services.model_serving.domain.deployment import Deployment, PlacementState, Server, check_server, check_servers
from services.model_serving.domain.reconcile import Unseen
from services.model_serving.domain.usage import Users, require_unused
from services.model_serving.servers import messages
from services.model_serving.servers.registry import Once, OnceAfter

log = logging.getLogger(__name__)

REFRESH_SECONDS = 5.0
COALESCE_SECONDS = 0.02
# after so long, what was stored before the start is published though a server has not answered yet
LONGEST_SETTLING_SECONDS = 3.0

WORK = Counter(
    "penstock_placement_work_total",
    "Calls to servers that load or unload versions of models, by how they ended.",
    ["server", "work", "outcome"],
)
PLACEMENTS = Gauge("penstock_placements", "Model versions on servers, by state.", ["server", "state"])


def count(server: str, work: str, outcome: str) -> None:
    WORK.labels(server, work, outcome).inc()


class Servers(Protocol):
    """Raises NotFound, AlreadyExists, Precondition, Unavailable."""

    async def create_server(self, server: Server) -> Server: ...
    async def list_servers(self, page: Page) -> tuple[Sequence[Server], str]: ...
    async def delete_server(self, name: str) -> None: ...


class Deployments(Protocol):
    """Raises NotFound, AlreadyExists, Unavailable."""

    async def create_deployment(
        self, model: str, version: str, servers: Sequence[str], now: datetime
    ) -> Deployment: ...
    async def get_deployment(self, model: str, version: str) -> Deployment: ...
    async def list_deployments(self, model: str, page: Page) -> tuple[Sequence[Deployment], str]: ...
    async def delete_deployment(self, model: str, version: str, now: datetime) -> Deployment: ...
    async def deployed(self) -> Deployed: ...


class Announcer:
    """Keeps the watch and the catalogue at what is stored. While the store is away, both stay as they are."""

    def __init__(self, deployments: Deployments, catalogue: Catalogue) -> None:
        self._deployments = deployments
        self._catalogue = catalogue
        self._changed = asyncio.Event()
        self.publisher: Publisher[deployment_pb2.Deployment] = Publisher()

    def wake(self) -> None:
        """Something was written."""
        self._changed.set()

    async def run(self, settled: asyncio.Event) -> None:
        """For ever, once what is stored may be trusted."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LONGEST_SETTLING_SECONDS):
                await settled.wait()
        while True:
            self._changed.clear()
            try:
                deployed = await self._deployments.deployed()
            except PenstockError as error:
                log.warning("deployments are announced as they were: %s", error)
            else:
                self._catalogue.replace(deployed)
                _gauge(deployed)
                self.publisher.publish(map(messages.deployment, deployed.deployments))
            await asyncio.sleep(COALESCE_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._changed.wait()


def _gauge(deployed: Deployed) -> None:
    found = Counts((p.server, p.state) for d in deployed.deployments for p in d.placements)
    PLACEMENTS.clear()
    for server in deployed.servers:
        for state in PlacementState:
            PLACEMENTS.labels(server.name, state.value).set(found[server.name, state])


SERVICE = pb.DESCRIPTOR.services_by_name["DeploymentService"].full_name


class DeploymentServer(DeploymentServiceServicer):
    def __init__(
        self,
        servers: Servers,
        deployments: Deployments,
        publisher: Publisher[deployment_pb2.Deployment],
        once: Once,
        once_after: OnceAfter,
        clock: Clock,
        is_ourselves: Callable[[str], Awaitable[bool]],
        users: Sequence[Users],
    ) -> None:
        """`is_ourselves` says whether Penstock itself answers at an address; `users` are asked before a deletion."""
        self._servers = servers
        self._deployments = deployments
        self._publisher = publisher
        self._once = once
        self._once_after = once_after
        self._clock = clock
        self._is_ourselves = is_ourselves
        self._users = users

    def add_to(self, server: grpc.aio.Server) -> None:
        add_DeploymentServiceServicer_to_server(self, server)

    async def CreateServer(self, request: pb.CreateServerRequest, context: Any) -> pb.CreateServerResponse:
        wanted = messages.server_read(request.server)
        with collecting() as faults:
            check_server(wanted, faults)
            if not faults and await self._is_ourselves(wanted.address):
                faults.add("server.address", f"{Unseen.OURSELVES.value}; give a Triton's own")

        async def perform() -> pb.CreateServerResponse:
            return pb.CreateServerResponse(server=messages.server(await self._servers.create_server(wanted)))

        return await self._once(request, pb.CreateServerResponse, perform)

    async def ListServers(self, request: pb.ListServersRequest, context: Any) -> pb.ListServersResponse:
        found, token = await self._servers.list_servers(page(request.page_size, request.page_token))
        return pb.ListServersResponse(servers=map(messages.server, found), next_page_token=token)

    async def DeleteServer(self, request: pb.DeleteServerRequest, context: Any) -> pb.DeleteServerResponse:
        async def perform() -> pb.DeleteServerResponse:
            await self._servers.delete_server(request.name)
            return pb.DeleteServerResponse()

        return await self._once(request, pb.DeleteServerResponse, perform)

    async def CreateDeployment(self, request: pb.CreateDeploymentRequest, context: Any) -> pb.CreateDeploymentResponse:
        said = request.deployment
        with collecting() as faults:
            faults.require(said.model, "deployment.model", "required")
            faults.require(said.version, "deployment.version", "required")
            check_servers(said.servers, faults)

        async def perform() -> pb.CreateDeploymentResponse:
            created = await self._deployments.create_deployment(
                said.model, said.version, said.servers, self._clock.now()
            )
            return pb.CreateDeploymentResponse(deployment=messages.deployment(created))

        return await self._once(request, pb.CreateDeploymentResponse, perform)

    async def GetDeployment(self, request: pb.GetDeploymentRequest, context: Any) -> pb.GetDeploymentResponse:
        found = await self._deployments.get_deployment(request.model, request.version)
        return pb.GetDeploymentResponse(deployment=messages.deployment(found))

    async def ListDeployments(self, request: pb.ListDeploymentsRequest, context: Any) -> pb.ListDeploymentsResponse:
        asked = page(request.page_size, request.page_token, keys=2)
        found, token = await self._deployments.list_deployments(request.model, asked)
        return pb.ListDeploymentsResponse(deployments=map(messages.deployment, found), next_page_token=token)

    async def DeleteDeployment(self, request: pb.DeleteDeploymentRequest, context: Any) -> pb.DeleteDeploymentResponse:
        async def ask() -> None:
            current = await self._deployments.get_deployment(request.model, request.version)
            if not (request.force or current.deleting):
                await require_unused(self._users, request.model, request.version)

        async def perform(_: None) -> pb.DeleteDeploymentResponse:
            deleting = await self._deployments.delete_deployment(request.model, request.version, self._clock.now())
            return pb.DeleteDeploymentResponse(deployment=messages.deployment(deleting))

        return await self._once_after(request, ask, pb.DeleteDeploymentResponse, perform)

    async def WatchDeployments(
        self, request: pb.WatchDeploymentsRequest, context: Any
    ) -> AsyncIterator[pb.WatchDeploymentsResponse]:
        async for snapshot in self._publisher.watch(request.last_revision):
            if snapshot is None:
                yield pb.WatchDeploymentsResponse(revision=request.last_revision, complete=True, unchanged=True)
                continue
            for deployments, last in snapshot.parts():
                yield pb.WatchDeploymentsResponse(revision=snapshot.revision, deployments=deployments, complete=last)
