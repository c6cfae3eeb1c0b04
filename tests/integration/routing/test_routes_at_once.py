"""More writes of routes than the pool has connections ask model_serving at once, each waiting for the others."""

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1.route_pb2 import Route
from tests.polling import eventually_async

COUNT = 12  # the pool has 10


@pytest.fixture
def together(mesh):
    mesh.siblings.together = asyncio.Barrier(COUNT)
    yield
    mesh.siblings.together = None


async def test_writes_wait_for_model_serving_without_a_connection(mesh, together):
    routing = mesh.routing_direct
    await eventually_async(lambda: routing.ListRoutes(pb.ListRoutesRequest(), timeout=5), within=30)
    models = [f"at-once-{number}" for number in range(COUNT)]
    creations = [
        pb.CreateRouteRequest(request_id=f"create-{model}", route=Route(model=model, default_version="1"))
        for model in models
    ]
    created = await asyncio.gather(*(routing.CreateRoute(request) for request in creations))
    mask = FieldMask(paths=["default_version"])
    changes = [
        pb.UpdateRouteRequest(
            request_id=f"update-{model}", route=Route(model=model, default_version="2"), update_mask=mask
        )
        for model in models
    ]
    changed = await asyncio.gather(*(routing.UpdateRoute(request) for request in changes))
    assert {answer.route.default_version for answer in changed} == {"2"}
    # nobody else asks now, so a repeat that asked would be waiting for others in vain
    assert await routing.CreateRoute(creations[0]) == created[0]
    assert await routing.UpdateRoute(changes[0]) == changed[0]
    for model in models:
        await routing.DeleteRoute(pb.DeleteRouteRequest(model=model))
