"""Every fault of a request at once, by name, and nothing half-written."""

import grpc
import pytest

from libs.statuses import from_sibling
from penstock.feature_store.v1 import feature_registry_service_pb2 as reg
from penstock.feature_store.v1 import feature_serving_service_pb2 as pb
from penstock.feature_store.v1 import feature_view_pb2 as fv
from penstock.feature_store.v1.value_pb2 import VALUE_TYPE_DOUBLE, VALUE_TYPE_INT64, VALUE_TYPE_STRING, Column
from tests.integration.feature_store import flights_declared as f

MIDNIGHT = 1_362_873_600_000_000
JFK = ("AA", "JFK")


@pytest.fixture
async def flights(service):
    await f.declare(service)
    return service


async def refused(call, code=grpc.StatusCode.INVALID_ARGUMENT):
    """The reason, and for a bad request each fault as `field: description`."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        if hasattr(call, "__aiter__"):
            async for _ in call:
                pass
        else:
            await call
    assert raised.value.code() is code, raised.value.details()
    error = from_sibling(raised.value, "feature_store")
    faults = {f"{v.field}: {v.description}" for v in getattr(error, "violations", ())}
    return error.reason, faults


def invalid(*faults):
    return "INVALID_REQUEST", set(faults)


async def test_names_that_do_not_exist(flights):
    missing = grpc.StatusCode.NOT_FOUND
    read = f.online([JFK], MIDNIGHT)
    read.feature_service = "nothing"
    assert await refused(flights.features.GetOnlineFeatures(read), missing) == ("FEATURE_SERVICE_NOT_FOUND", set())
    read = f.historical([JFK], [MIDNIGHT])
    read.feature_service = "nothing"
    assert await refused(flights.features.GetHistoricalFeatures(read), missing) == ("FEATURE_SERVICE_NOT_FOUND", set())
    written = f.weather([("JFK", MIDNIGHT, 1.0, "")])
    written.view = "nothing"
    assert await refused(flights.features.WriteFeatures(written), missing) == ("FEATURE_VIEW_NOT_FOUND", set())
    pushed = f.departures([("1", *JFK, MIDNIGHT, 1.0)])
    pushed.view = "nothing"
    assert await refused(flights.features.PushEvents(pushed), missing) == ("FEATURE_VIEW_NOT_FOUND", set())
    for call, reason in (
        (flights.registry.GetEntity(reg.GetEntityRequest(name="x")), "ENTITY_NOT_FOUND"),
        (flights.registry.GetFeatureView(reg.GetFeatureViewRequest(name="x")), "FEATURE_VIEW_NOT_FOUND"),
        (flights.registry.GetFeatureService(reg.GetFeatureServiceRequest(name="x")), "FEATURE_SERVICE_NOT_FOUND"),
    ):
        assert await refused(call, missing) == (reason, set())


async def test_names_that_are_not_there(flights):
    assert await refused(flights.features.GetOnlineFeatures(pb.GetOnlineFeaturesRequest())) == invalid(
        "feature_service: is missing"
    )
    assert await refused(flights.features.WriteFeatures(pb.WriteFeaturesRequest())) == invalid("view: is missing")
    assert await refused(flights.registry.GetEntity(reg.GetEntityRequest())) == invalid("name: is missing")


async def test_every_key_and_request_feature_that_is_missing_is_named(flights):
    empty = pb.GetOnlineFeaturesRequest(feature_service="flight.v1")
    assert await refused(flights.features.GetOnlineFeatures(empty)) == invalid(
        "entities: there are no rows",
        "entities: join key carrier (STRING) is missing",
        "entities: join key origin (STRING) is missing",
        "request_features: request feature distance (DOUBLE) is missing",
        "request_features: request feature scheduled (TIMESTAMP) is missing",
    )


async def test_columns_that_are_not_what_is_asked_for(flights):
    request = f.online([JFK], MIDNIGHT)
    request.entities[0].CopyFrom(f.column("carrier", VALUE_TYPE_INT64, [5]))
    request.entities.append(f.strings("origin", ["JFK"]))
    request.entities.append(f.strings("colour", ["red"]))
    request.request_features[1].CopyFrom(f.doubles("distance", [1.0, 2.0]))
    request.request_features[0].timestamp_us_values[0] = 2**60
    assert await refused(flights.features.GetOnlineFeatures(request)) == invalid(
        "entities: carrier (STRING) was sent as INT64",
        "entities[2]: column 'origin' is there twice",
        "entities: 'colour' is not asked for",
        "request_features: 'distance' has 2 values for 1 rows",
        "request_features[0].timestamp_us_values: a time is not between the years 1684 and 2255",
    )


async def test_columns_that_are_not_sound(flights):
    request = f.online([JFK], MIDNIGHT)
    request.entities[0].CopyFrom(Column(name="carrier", string_values=["AA"]))
    request.entities[1].int64_values.append(1)
    request.request_features[0].valid.extend([True, False])
    request.request_features[1].type = VALUE_TYPE_STRING
    assert await refused(flights.features.GetOnlineFeatures(request)) == invalid(
        "entities: there are no rows",
        "entities[0].type: is not set",
        "entities: join key carrier (STRING) is missing",
        "entities[1].int64_values: is set, but the column is STRING",
        "entities: 'origin' has 1 values for 0 rows",
        "request_features[0].valid: 2 for 1 values",
        "request_features: request feature scheduled (TIMESTAMP) is missing",
        "request_features[1].double_values: is set, but the column is STRING",
        "request_features: distance (DOUBLE) was sent as STRING",
    )


async def test_too_many_rows(flights):
    _, faults = await refused(flights.features.GetOnlineFeatures(f.online([JFK] * 1001, MIDNIGHT)))
    assert faults == {"entities: 1001 rows: at most 1000"}
    many = f.weather([("JFK", MIDNIGHT, 1.0, "")] * 10_001)
    assert (await refused(flights.features.WriteFeatures(many)))[1] == {"event_time_us: 10001 rows: at most 10000"}
    many = f.historical([JFK] * 100_001, [MIDNIGHT] * 100_001)
    assert (await refused(flights.features.GetHistoricalFeatures(many)))[1] == {"entities: 100001 rows: at most 100000"}


async def test_rows_of_history_without_times(flights):
    request = f.historical([JFK, JFK], [MIDNIGHT, MIDNIGHT])
    del request.event_time_us[:]
    _, faults = await refused(flights.features.GetHistoricalFeatures(request))
    assert faults == {
        "entities: there are no rows",
        "entities: 'carrier' has 2 values for 0 rows",
        "entities: 'origin' has 2 values for 0 rows",
        "request_features: 'scheduled' has 2 values for 0 rows",
        "request_features: 'distance' has 2 values for 0 rows",
    }


async def test_writes_that_are_wrong_write_nothing(flights):
    ahead = 2**52
    request = f.weather([("JFK", MIDNIGHT, 1.0, "a"), (None, ahead, 2.0, "b")], created_time_us=[1])
    request.columns.append(f.doubles("colour", [1.0, 2.0]))
    del request.columns[1].double_values[1]
    assert await refused(flights.features.WriteFeatures(request)) == invalid(
        "columns: 'wind' has 1 values for 2 rows",
        "columns: 'colour' is not asked for",
        "columns: join key 'origin' is null in a row",
        "event_time_us: a time is more than a day ahead of the clock",
        "created_time_us: 1 times for 2 rows",
    )
    answer = await flights.features.GetOnlineFeatures(f.online([JFK], MIDNIGHT))
    assert f.by_name(answer.features)["wind"] == [(None, 3, 0)]
    assert (await f.read_history(flights, f.historical([JFK], [MIDNIGHT])))["wind"] == [(None, 3, 0)]
    assert await refused(flights.features.WriteFeatures(pb.WriteFeaturesRequest(view="weather"))) == invalid(
        "event_time_us: there are no rows: one time for each row is needed",
        "columns: join key origin (STRING) is missing",
    )
    long = f.weather([("J" * 513, MIDNIGHT, 1.0, "")])
    assert (await refused(flights.features.WriteFeatures(long)))[1] == {
        "columns: join key 'origin' is longer than 512 bytes in a row"
    }


async def test_events_that_are_wrong_write_nothing(flights):
    request = f.departures([("1", *JFK, MIDNIGHT, float("nan")), ("", *JFK, MIDNIGHT, 2.0), ("2", *JFK, MIDNIGHT, 2.0)])
    request.event_ids.append("x\0y")
    assert await refused(flights.features.PushEvents(request)) == invalid(
        "columns: 'delay' holds a number that cannot be summed (NaN, infinite)",
        "event_ids: 4 ids for 3 rows",
        "event_ids[1]: is not 1 to 256 bytes without NUL",
        "event_ids[3]: is not 1 to 256 bytes without NUL",
    )
    pushed = await flights.features.PushEvents(f.departures([("2", *JFK, MIDNIGHT, 2.0)]))
    assert pushed.events_written == 1


async def test_a_view_takes_only_what_it_is_made_of(flights):
    rows, events = f.weather([("JFK", MIDNIGHT, 1.0, "")]), f.departures([("1", *JFK, MIDNIGHT, 1.0)])
    for view, fault in (
        ("delays", "view: 'delays' is a stream view: PushEvents takes its events"),
        ("clock", "view: 'clock' is computed on demand: nothing is written to it"),
    ):
        rows.view = view
        assert await refused(flights.features.WriteFeatures(rows)) == invalid(fault)
    events.view = "weather"
    assert await refused(flights.features.PushEvents(events)) == invalid(
        "view: 'weather' is a batch view: WriteFeatures writes its rows"
    )


async def test_definitions_report_all_their_faults(flights):
    entity = fv.Entity(
        name="Plane!",
        join_keys=[f.field("a", VALUE_TYPE_DOUBLE), f.field("a", VALUE_TYPE_STRING), fv.Field(name="b")],
    )
    call = flights.registry.CreateEntity(reg.CreateEntityRequest(entity=entity))
    assert await refused(call) == invalid(
        "entity.name: 'Plane!' is not 1 to 63 of [a-z0-9_], starting with a letter",
        "entity.join_keys[0].type: DOUBLE cannot be a key: it is not exact",
        "entity.join_keys[1]: 'a' is there twice",
        "entity.join_keys[2].type: is not set",
    )


async def test_a_view_of_an_entity_that_is_not_there(flights):
    view = fv.FeatureView(name="v", entity="nobody", batch=fv.BatchSource(features=[f.field("a", VALUE_TYPE_DOUBLE)]))
    call = flights.registry.CreateFeatureView(reg.CreateFeatureViewRequest(feature_view=view))
    violations = {"feature_view.entity: no entity 'nobody'"}
    assert await refused(call, grpc.StatusCode.NOT_FOUND) == ("ENTITY_NOT_FOUND", violations)
    service = fv.FeatureService(
        name="s",
        features=[fv.FeatureReference(view="v", feature="a"), fv.FeatureReference(view="weather", feature="b")],
    )
    call = flights.registry.CreateFeatureService(reg.CreateFeatureServiceRequest(feature_service=service))
    violations = {
        "feature_service.features[0]: no feature view 'v'",
        "feature_service.features[1]: feature view 'weather' has no feature 'b'",
    }
    assert await refused(call, grpc.StatusCode.NOT_FOUND) == ("FEATURE_VIEW_NOT_FOUND", violations)
