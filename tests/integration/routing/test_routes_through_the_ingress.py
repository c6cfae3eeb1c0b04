"""RoutingService as a client meets it: through Envoy, on a real store, with statuses that say what is wrong."""

import asyncio

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from libs.statuses import reason_of
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1.route_pb2 import LOAD_BALANCING_LEAST_REQUEST, LOAD_BALANCING_ROUND_ROBIN, Route
from tests.integration.routing.siblings import UNREGISTERED
from tests.polling import eventually_async


@pytest.fixture
async def routing(mesh):
    """Once Envoy has its doors."""
    await eventually_async(lambda: mesh.routing.ListRoutes(pb.ListRoutesRequest()), within=30)
    return mesh.routing


async def refused(call, code, reason):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert (raised.value.code(), reason_of(raised.value)) == (code, reason)
    return raised.value


async def test_a_route_lives(routing):
    said = Route(model="lives", default_version="2", fallback_versions=["1"], max_retries=3)
    created = (await routing.CreateRoute(pb.CreateRouteRequest(route=said))).route
    assert created.etag
    assert created.create_time == created.update_time
    assert created.load_balancing == LOAD_BALANCING_ROUND_ROBIN
    assert (created.timeout, created.per_try_timeout) == (Duration(seconds=5), Duration(seconds=2, nanos=500_000_000))
    assert (await routing.GetRoute(pb.GetRouteRequest(model="lives"))).route == created

    change = Route(model="lives", load_balancing=LOAD_BALANCING_LEAST_REQUEST, etag=created.etag)
    mask = FieldMask(paths=["load_balancing"])
    updated = (await routing.UpdateRoute(pb.UpdateRouteRequest(route=change, update_mask=mask))).route
    assert updated.load_balancing == LOAD_BALANCING_LEAST_REQUEST
    assert (updated.default_version, list(updated.fallback_versions), updated.max_retries) == ("2", ["1"], 3)
    assert updated.etag != created.etag

    stale = pb.DeleteRouteRequest(model="lives", etag=created.etag)
    await refused(routing.DeleteRoute(stale), grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
    await routing.DeleteRoute(pb.DeleteRouteRequest(model="lives", etag=updated.etag))
    gone = pb.GetRouteRequest(model="lives")
    await refused(routing.GetRoute(gone), grpc.StatusCode.NOT_FOUND, "ROUTE_NOT_FOUND")


async def test_a_model_has_one_route(routing):
    request = pb.CreateRouteRequest(route=Route(model="one", default_version="1"))
    await routing.CreateRoute(request)
    await refused(routing.CreateRoute(request), grpc.StatusCode.ALREADY_EXISTS, "ROUTE_EXISTS")


async def test_a_repeated_mutation_returns_the_first_answer(routing):
    request = pb.CreateRouteRequest(request_id="create-again", route=Route(model="again", default_version="1"))
    answers = await asyncio.gather(*(routing.CreateRoute(request) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    request.route.default_version = "2"
    await refused(routing.CreateRoute(request), grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert (await routing.GetRoute(pb.GetRouteRequest(model="again"))).route == answers[0].route


async def test_every_fault_of_a_request_is_told_at_once(routing):
    said = Route(model="no/slash", fallback_versions=["1", "1", "x"], per_try_timeout=Duration(seconds=6))
    request = pb.CreateRouteRequest(route=said)
    error = await refused(routing.CreateRoute(request), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(error).details)
    assert [violation.field for violation in bad.field_violations] == [
        "route.model",
        "route.default_version",
        "route.fallback_versions[1]",
        "route.fallback_versions[2]",
        "route.per_try_timeout",
    ]


async def test_a_route_names_only_what_exists(routing):
    said = Route(model="exists", default_version="1", fallback_versions=["2", UNREGISTERED])
    error = await refused(
        routing.CreateRoute(pb.CreateRouteRequest(route=said)), grpc.StatusCode.NOT_FOUND, "MODEL_VERSION_NOT_FOUND"
    )
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(error).details)
    assert [violation.field for violation in bad.field_violations] == ["route.fallback_versions[1]"]
    await routing.CreateRoute(pb.CreateRouteRequest(route=Route(model="exists", default_version="1")))
    change = pb.UpdateRouteRequest(
        route=Route(model="exists", default_version=UNREGISTERED), update_mask=FieldMask(paths=["default_version"])
    )
    await refused(routing.UpdateRoute(change), grpc.StatusCode.NOT_FOUND, "MODEL_VERSION_NOT_FOUND")


async def test_a_proxy_that_nobody_knows_is_not_found(routing):
    asked = pb.ExplainRouteRequest(model="anything", proxy="nobody")
    await refused(routing.ExplainRoute(asked), grpc.StatusCode.NOT_FOUND, "PROXY_NOT_FOUND")


async def test_a_refused_update_changes_nothing(routing):
    created = await routing.CreateRoute(pb.CreateRouteRequest(route=Route(model="stays", default_version="1")))
    request = pb.UpdateRouteRequest(
        request_id="refused-update",
        route=Route(model="stays", default_version="2", max_retries=99),
        update_mask=FieldMask(paths=["default_version", "max_retries", "etag"]),
    )
    await refused(routing.UpdateRoute(request), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert (await routing.GetRoute(pb.GetRouteRequest(model="stays"))).route == created.route


async def test_lists_page_in_order(routing):
    models = [f"page-{n}" for n in range(5)]
    for model in reversed(models):
        await routing.CreateRoute(pb.CreateRouteRequest(route=Route(model=model, default_version="1")))
    found, token = [], ""
    while True:
        page = await routing.ListRoutes(pb.ListRoutesRequest(page_size=2, page_token=token))
        assert len(page.routes) <= 2
        found += [route.model for route in page.routes]
        token = page.next_page_token
        if not token:
            break
    assert found == sorted(found)
    assert [model for model in found if model.startswith("page-")] == models
    forged = pb.ListRoutesRequest(page_token="forged")
    await refused(routing.ListRoutes(forged), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_names_that_no_store_takes_are_refused(routing):
    for call in (
        routing.GetRoute(pb.GetRouteRequest(model="a\0b")),
        routing.DeleteRoute(pb.DeleteRouteRequest(model="")),
        routing.UpdateRoute(pb.UpdateRouteRequest(route=Route(model="ü", default_version="1"))),
    ):
        await refused(call, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
