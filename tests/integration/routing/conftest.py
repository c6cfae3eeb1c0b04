"""A mesh of real Postgres, Envoy and routing, around siblings that publish what a test says."""

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from libs.channels import open_channel
from penstock.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from tests.conftest import running
from tests.integration.routing.siblings import Siblings

PARTS = ("postgres", "envoy", "routing")


@asynccontextmanager
async def mesh_of(home, parts=PARTS, environment=None):
    """The stack, its siblings and stubs: one through the ingress, one straight to routing."""
    around = running(home, parts, environment)
    stack = await asyncio.to_thread(around.__enter__)
    siblings = Siblings()
    ingress = open_channel(f"127.0.0.1:{stack.ports['ingress']}")
    direct = open_channel(f"127.0.0.1:{stack.ports['routing']}")
    try:
        await siblings.start(stack.ports)
        siblings.say_all_is_well()
        yield SimpleNamespace(
            stack=stack,
            siblings=siblings,
            ingress=ingress,
            direct=direct,
            routing=RoutingServiceStub(ingress),
            routing_direct=RoutingServiceStub(direct),
        )
    finally:
        await ingress.close()
        await direct.close()
        await siblings.stop()
        await asyncio.to_thread(around.__exit__, None, None, None)


@pytest.fixture(scope="session")
async def mesh(tmp_path_factory):
    """For tests that leave it as it was; each uses models of its own."""
    async with mesh_of(tmp_path_factory.mktemp("the mesh")) as mesh:
        yield mesh


@pytest.fixture
async def own_mesh(tmp_path_factory):
    """For tests that break it."""
    async with mesh_of(tmp_path_factory.mktemp("a mesh")) as mesh:
        yield mesh
