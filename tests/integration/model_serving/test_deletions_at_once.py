"""More deletions than the pool has connections ask the siblings at once, each waiting for the others."""

import asyncio

import grpc
import pytest

from libs.errors import NotFound
from libs.interceptors import ServiceInterceptor
from penstock.experimentation.v1 import experimentation_service_pb2 as exp
from penstock.experimentation.v1 import experimentation_service_pb2_grpc as exp_rpc
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1.deployment_pb2 import Server
from penstock.routing.v1 import routing_service_pb2_grpc as rt_rpc
from tests.integration.model_serving.conftest import SECONDS, deploy, register, serving
from tests.models import shift

COUNT = 12  # the pool has 10


class Siblings(exp_rpc.ExperimentationServiceServicer, rt_rpc.RoutingServiceServicer):
    """Routing answers nobody before all have asked."""

    def __init__(self):
        self.together = asyncio.Barrier(COUNT)

    async def GetRoute(self, request, context):
        async with self.together:
            raise NotFound("ROUTE_NOT_FOUND", "no route")

    async def ListExperiments(self, request, context):
        return exp.ListExperimentsResponse()


@pytest.fixture
async def mesh():
    server = grpc.aio.server(interceptors=[ServiceInterceptor()])
    siblings = Siblings()
    exp_rpc.add_ExperimentationServiceServicer_to_server(siblings, server)
    rt_rpc.add_RoutingServiceServicer_to_server(siblings, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


async def test_deletions_wait_for_siblings_without_a_connection(fresh_database, tmp_path, mesh):
    async with serving(fresh_database, tmp_path, mesh=mesh) as replica:
        nowhere = Server(name="a", address="127.0.0.1:1")
        await replica.deployments.CreateServer(dep.CreateServerRequest(server=nowhere), timeout=SECONDS)
        for version in range(1, COUNT + 1):
            await register(replica, "m", version, shift(1))
            await deploy(replica, "m", version)
        asked = [
            dep.DeleteDeploymentRequest(request_id=f"delete-{version}", model="m", version=str(version))
            for version in range(1, COUNT + 1)
        ]
        answers = await asyncio.gather(
            *(replica.deployments.DeleteDeployment(request, timeout=SECONDS) for request in asked)
        )
        assert {answer.deployment.version for answer in answers} == {request.version for request in asked}
        # nobody else asks now, so a repeat that asked would be waiting for others for ever
        again = await replica.deployments.DeleteDeployment(asked[0], timeout=SECONDS)
        assert again == answers[0]
