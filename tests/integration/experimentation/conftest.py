"""The service as a process, on a real Postgres; its siblings are a real server whose answers a test decides."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.channels import open_channel
from libs.interceptors import ServiceInterceptor
from penstock.experimentation.v1.experimentation_service_pb2_grpc import ExperimentationServiceStub
from penstock.model_serving.v1 import deployment_service_pb2 as serving_pb
from penstock.model_serving.v1.deployment_pb2 import Deployment
from penstock.model_serving.v1.deployment_service_pb2_grpc import (
    DeploymentServiceServicer,
    add_DeploymentServiceServicer_to_server,
)
from penstock.routing.v1 import routing_service_pb2 as routing
from penstock.routing.v1.routing_service_pb2_grpc import RoutingServiceServicer, add_RoutingServiceServicer_to_server
from tests.polling import eventually_async


class Siblings(RoutingServiceServicer, DeploymentServiceServicer):
    """Default versions, and versions 1 to 3 of every model, ready unless `states` says; fails with `error`, if any.
    `together` is waited for before deployments are listed.
    """

    def __init__(self) -> None:
        self.defaults: dict[str, str] = {}
        self.error: Exception | None = None
        self.masks: list[list[str]] = []
        self.states: dict[tuple[str, str], int] = {}
        self.together: asyncio.Barrier | None = None

    async def ListDeployments(self, request, context):
        """One a page, so that a reader which forgets the second is found out."""
        if self.error:
            raise self.error
        if self.together:
            await self.together.wait()
        version = int(request.page_token or "1")
        state = self.states.get((request.model, str(version)), Deployment.STATE_READY)
        found = [Deployment(model=request.model, version=str(version), state=state)] if state else []
        token = str(version + 1) if version < 3 else ""
        return serving_pb.ListDeploymentsResponse(deployments=found, next_page_token=token)

    async def UpdateRoute(self, request, context):
        if self.error:
            raise self.error
        self.masks.append(list(request.update_mask.paths))
        self.defaults[request.route.model] = request.route.default_version
        return routing.UpdateRouteResponse(route=request.route)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(dsn: str, mesh: str, listen: str):
    variables = {
        **os.environ,
        "PENSTOCK_LISTEN": listen,
        "PENSTOCK_METRICS_PORT": "0",
        "PENSTOCK_POSTGRES_DSN": dsn,
        "PENSTOCK_MESH_ADDRESS": mesh,
    }
    running = subprocess.Popen([sys.executable, "-m", "services.experimentation"], env=variables)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


async def serving(channel) -> None:
    async def check():
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    await eventually_async(check, within=30, message="experimentation serves")


@pytest.fixture(scope="session")
async def routes():
    servicer = Siblings()
    server = grpc.aio.server(interceptors=[ServiceInterceptor()])
    add_RoutingServiceServicer_to_server(servicer, server)
    add_DeploymentServiceServicer_to_server(servicer, server)
    servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    yield servicer
    await server.stop(0)


@pytest.fixture(scope="session")
async def replicas(postgres_dsn, routes):
    """Two of the service over one database: their stubs."""
    with ExitStack() as processes:
        channels = []
        for _ in range(2):
            listen = f"127.0.0.1:{free_port()}"
            processes.enter_context(process(postgres_dsn, routes.address, listen))
            channels.append(open_channel(listen))
            # one after the other: it is the first that migrates
            await serving(channels[-1])
        yield [ExperimentationServiceStub(channel) for channel in channels]
        for channel in channels:
            await channel.close()


@pytest.fixture
async def service(replicas):
    return replicas[0]
