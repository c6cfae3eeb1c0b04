"""Declaring features over gRPC: once, for ever, page by page."""

import grpc
import pytest

from libs.statuses import reason_of
from penstock.feature_store.v1 import feature_registry_service_pb2 as reg
from penstock.feature_store.v1 import feature_view_pb2 as fv
from penstock.feature_store.v1.value_pb2 import VALUE_TYPE_DOUBLE, VALUE_TYPE_STRING, VALUE_TYPE_TIMESTAMP
from tests.integration.feature_store import flights_declared as f


async def failed(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), reason_of(raised.value)


async def test_definitions_come_back_as_they_were_sent(service):
    await f.declare(service)
    for entity in f.ENTITIES:
        found = (await service.registry.GetEntity(reg.GetEntityRequest(name=entity.name))).entity
        assert found.etag
        assert found.create_time.seconds
        found.ClearField("etag")
        found.ClearField("create_time")
        assert found == entity
    for view in f.VIEWS:
        found = (await service.registry.GetFeatureView(reg.GetFeatureViewRequest(name=view.name))).feature_view
        found.ClearField("etag")
        found.ClearField("create_time")
        assert found == view
    listed = await service.registry.ListFeatureViews(reg.ListFeatureViewsRequest())
    assert [view.name for view in listed.feature_views] == ["clock", "delays", "weather"]


async def test_a_service_says_what_its_callers_must_send(service):
    await f.declare(service)
    found = await service.registry.GetFeatureService(reg.GetFeatureServiceRequest(name="flight.v1"))
    assert list(found.join_keys) == [f.field("carrier", VALUE_TYPE_STRING), f.field("origin", VALUE_TYPE_STRING)]
    assert list(found.request_fields) == [
        f.field("distance", VALUE_TYPE_DOUBLE),
        f.field("scheduled", VALUE_TYPE_TIMESTAMP),
    ]
    assert [output.name for output in found.outputs][4:] == ["wind", "clouds", "hour", "per_wind", "miles"]
    assert list(found.feature_service.features) == list(f.SERVICE.features)


async def test_a_repeat_gets_the_first_answer_and_another_definition_none(service):
    request = reg.CreateEntityRequest(request_id="once", entity=f.ENTITIES[0])
    first = await service.registry.CreateEntity(request)
    assert await service.registry.CreateEntity(request) == first
    again = reg.CreateEntityRequest(entity=f.ENTITIES[0])
    assert await failed(service.registry.CreateEntity(again)) == (grpc.StatusCode.ALREADY_EXISTS, "ENTITY_EXISTS")
    other = reg.CreateEntityRequest(request_id="once", entity=f.ENTITIES[1])
    assert await failed(service.registry.CreateEntity(other)) == (
        grpc.StatusCode.ALREADY_EXISTS,
        "REQUEST_ID_REUSED",
    )


async def test_lists_come_in_pages(service):
    names = [f"e{i}" for i in range(5)]
    for name in reversed(names):
        entity = fv.Entity(name=name, join_keys=[f.field("k", VALUE_TYPE_STRING)])
        await service.registry.CreateEntity(reg.CreateEntityRequest(entity=entity))
    found, token = [], ""
    while True:
        page = await service.registry.ListEntities(reg.ListEntitiesRequest(page_size=2, page_token=token))
        found.append([entity.name for entity in page.entities])
        token = page.next_page_token
        if not token:
            break
    assert found == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    call = service.registry.ListFeatureServices(reg.ListFeatureServicesRequest(page_token="nonsense"))
    assert await failed(call) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
