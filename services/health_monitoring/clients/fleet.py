"""Servers and deployments, from their owner, through the mesh."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable

import grpc

from libs.watch import follow
from penstock.model_serving.v1 import deployment_pb2, deployment_service_pb2, deployment_service_pb2_grpc
from services.health_monitoring.domain.roster import Fleet
from services.health_monitoring.domain.target import Placement, Target, server

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
PAGE = 1000

_State = deployment_pb2.Placement.State


class FleetWatch:
    """Calls `tell` with every new fleet. While the owner is down nothing is told: what was told last stays true."""

    def __init__(self, mesh: grpc.aio.Channel, tell: Callable[[Fleet], None]) -> None:
        self._stub: deployment_service_pb2_grpc.DeploymentServiceAsyncStub = (
            deployment_service_pb2_grpc.DeploymentServiceStub(mesh)
        )
        self._tell = tell
        self._told: Fleet | None = None
        self._placements: tuple[Placement, ...] | None = None
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_deployments())
            group.create_task(self._read_servers())

    async def _follow_deployments(self) -> None:
        def open_stream(
            revision: str,
        ) -> grpc.aio.UnaryStreamCall[
            deployment_service_pb2.WatchDeploymentsRequest, deployment_service_pb2.WatchDeploymentsResponse
        ]:
            return self._stub.WatchDeployments(deployment_service_pb2.WatchDeploymentsRequest(last_revision=revision))

        async for snapshot in follow("model_serving", open_stream, lambda part: part.deployments):
            self._placements = tuple(p for deployment in snapshot.items for p in placements_of(deployment))
            self._changed.set()

    async def _read_servers(self) -> None:
        # a server that has no deployment shows in no watch: it is found by asking, every few seconds
        reachable = True
        while True:
            self._changed.clear()
            try:
                servers = await self._servers()
                if self._placements is not None:
                    await self._tell_if_new(servers, self._placements)
                reachable = True
            except grpc.aio.AioRpcError as error:
                if reachable:
                    log.warning("model_serving does not list its servers: %s %s", error.code().name, error.details())
                reachable = False
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _servers(self) -> tuple[Target, ...]:
        found: list[Target] = []
        token = ""
        while True:
            request = deployment_service_pb2.ListServersRequest(page_size=PAGE, page_token=token)
            answer = await self._stub.ListServers(request)
            found += [server(each.name, each.address) for each in answer.servers]
            token = answer.next_page_token
            if not token:
                return tuple(found)

    async def _tell_if_new(self, servers: tuple[Target, ...], placements: tuple[Placement, ...]) -> None:
        aliases = await _aliases({each.address for each in (*servers, *placements)})
        fleet = Fleet(servers, placements, aliases)
        if fleet != self._told:
            self._told = fleet
            self._tell(fleet)


def placements_of(deployment: deployment_pb2.Deployment) -> Iterable[Placement]:
    leaving = deployment.state == deployment_pb2.Deployment.STATE_DELETING
    for each in deployment.placements:
        yield Placement(
            deployment.model,
            deployment.version,
            each.server,
            each.address,
            ready=each.state == _State.STATE_READY,
            leaving=leaving or each.state == _State.STATE_UNLOADING,
        )


async def _aliases(addresses: Iterable[str]) -> dict[str, str]:
    """Envoy logs IP addresses: those that each name stands for, with its port, to the name."""
    found: dict[str, str] = {}
    for address in sorted(addresses):
        host, _, port = address.rpartition(":")
        if _is_ip(host):
            continue
        try:
            infos = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            log.warning("calls to %s cannot be told apart, its name does not resolve: %s", address, error)
            continue
        for info in infos:
            ip = str(info[4][0])
            found[f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"] = address
    return found


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True
