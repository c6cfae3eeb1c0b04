"""Features of a flight, on the wire."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from penstock.feature_store.v1 import feature_registry_service_pb2 as reg
from penstock.feature_store.v1 import feature_serving_service_pb2 as pb
from penstock.feature_store.v1 import feature_view_pb2 as fv
from penstock.feature_store.v1.value_pb2 import (
    VALUE_TYPE_BOOL,
    VALUE_TYPE_DOUBLE,
    VALUE_TYPE_INT64,
    VALUE_TYPE_STRING,
    VALUE_TYPE_TIMESTAMP,
    Column,
)

HOUR = 3_600_000_000
LISTS = {
    VALUE_TYPE_INT64: "int64_values",
    VALUE_TYPE_DOUBLE: "double_values",
    VALUE_TYPE_STRING: "string_values",
    VALUE_TYPE_BOOL: "bool_values",
    VALUE_TYPE_TIMESTAMP: "timestamp_us_values",
}
ZEROS = {VALUE_TYPE_STRING: "", VALUE_TYPE_BOOL: False, VALUE_TYPE_DOUBLE: 0.0}


def column(name, kind, values):
    """None is null."""
    filled = [ZEROS.get(kind, 0) if value is None else value for value in values]
    valid = [value is not None for value in values]
    return Column(name=name, type=kind, valid=[] if all(valid) else valid, **{LISTS[kind]: filled})


def strings(name, values):
    return column(name, VALUE_TYPE_STRING, values)


def doubles(name, values):
    return column(name, VALUE_TYPE_DOUBLE, values)


def field(name, kind):
    return fv.Field(name=name, type=kind)


def hours(count):
    return Duration(seconds=count * 3600)


def timestamp(micros):
    stamp = Timestamp()
    stamp.FromMicroseconds(micros)
    return stamp


ENTITIES = (
    fv.Entity(name="airport", join_keys=[field("origin", VALUE_TYPE_STRING)]),
    fv.Entity(
        name="carrier_at_airport",
        join_keys=[field("carrier", VALUE_TYPE_STRING), field("origin", VALUE_TYPE_STRING)],
        description="who flies from where",
    ),
)
WINDOWS = [
    fv.Aggregation(feature="departures_1h", function=fv.AGGREGATION_FUNCTION_COUNT, window=hours(1)),
    fv.Aggregation(feature="sum_3h", function=fv.AGGREGATION_FUNCTION_SUM, field="delay", window=hours(3)),
    fv.Aggregation(feature="mean_3h", function=fv.AGGREGATION_FUNCTION_MEAN, field="delay", window=hours(3)),
    fv.Aggregation(feature="worst_1h", function=fv.AGGREGATION_FUNCTION_MAX, field="delay", window=hours(1)),
]
VIEWS = (
    fv.FeatureView(
        name="weather",
        entity="airport",
        time_to_live=hours(3),
        batch=fv.BatchSource(features=[field("wind", VALUE_TYPE_DOUBLE), field("sky", VALUE_TYPE_STRING)]),
    ),
    fv.FeatureView(
        name="delays",
        entity="carrier_at_airport",
        stream=fv.StreamSource(
            event_fields=[field("delay", VALUE_TYPE_DOUBLE), field("late", VALUE_TYPE_BOOL)], aggregations=WINDOWS
        ),
    ),
    fv.FeatureView(
        name="clock",
        on_demand=fv.OnDemandSource(
            request_fields=[field("scheduled", VALUE_TYPE_TIMESTAMP), field("distance", VALUE_TYPE_DOUBLE)],
            transformations=[
                fv.Transformation(
                    feature="hour",
                    function=fv.TRANSFORMATION_FUNCTION_LOCAL_HOUR,
                    inputs=["scheduled"],
                    time_zone="America/New_York",
                ),
                fv.Transformation(
                    feature="per_wind",
                    function=fv.TRANSFORMATION_FUNCTION_RATIO,
                    inputs=["distance", "weather:wind"],
                ),
            ],
        ),
    ),
)
SERVICE = fv.FeatureService(
    name="flight.v1",
    features=[
        *(fv.FeatureReference(view="delays", feature=a.feature) for a in WINDOWS),
        fv.FeatureReference(view="weather", feature="wind"),
        fv.FeatureReference(view="weather", feature="sky", alias="clouds"),
        fv.FeatureReference(view="clock", feature="hour"),
        fv.FeatureReference(view="clock", feature="per_wind"),
        fv.FeatureReference(feature="distance", type=VALUE_TYPE_DOUBLE, alias="miles"),
    ],
)


async def declare(service, **call):
    for entity in ENTITIES:
        await service.registry.CreateEntity(reg.CreateEntityRequest(entity=entity), **call)
    for view in VIEWS:
        await service.registry.CreateFeatureView(reg.CreateFeatureViewRequest(feature_view=view), **call)
    await service.registry.CreateFeatureService(reg.CreateFeatureServiceRequest(feature_service=SERVICE), **call)


def weather(rows, **more):
    """Rows of (origin, time, wind, sky)."""
    origins, times, winds, skies = zip(*rows, strict=True)
    columns = [strings("origin", origins), doubles("wind", winds), strings("sky", skies)]
    return pb.WriteFeaturesRequest(view="weather", columns=columns, event_time_us=times, **more)


def departures(events):
    """Events of (id, carrier, origin, time, delay)."""
    ids, carriers, origins, times, delays = zip(*events, strict=True)
    late = column("late", VALUE_TYPE_BOOL, [delay is not None and delay > 15 for delay in delays])
    columns = [strings("carrier", carriers), strings("origin", origins), doubles("delay", delays), late]
    return pb.PushEventsRequest(view="delays", columns=columns, event_time_us=times, event_ids=ids)


def entities(keys):
    """From (carrier, origin) pairs."""
    return [strings("carrier", [k[0] for k in keys]), strings("origin", [k[1] for k in keys])]


def sent(scheduled, distance):
    return [column("scheduled", VALUE_TYPE_TIMESTAMP, scheduled), doubles("distance", distance)]


def online(keys, at_us, distance=100.0):
    return pb.GetOnlineFeaturesRequest(
        feature_service="flight.v1",
        entities=entities(keys),
        request_features=sent([at_us] * len(keys), [distance] * len(keys)),
        as_of=timestamp(at_us),
    )


def historical(keys, times, distance=100.0):
    return pb.GetHistoricalFeaturesRequest(
        feature_service="flight.v1",
        entities=entities(keys),
        request_features=sent(times, [distance] * len(keys)),
        event_time_us=times,
    )


def values(feature):
    """None for null."""
    listed = getattr(feature.values, LISTS[feature.values.type])
    valid = feature.values.valid or [True] * len(listed)
    return [value if ok else None for value, ok in zip(listed, valid, strict=True)]


def by_name(features):
    """(value, status, event time) of each row, by feature."""
    return {f.values.name: list(zip(values(f), f.statuses, f.event_time_us, strict=True)) for f in features}


async def read_history(service, request, **call):
    """All parts as one, checked to follow each other."""
    found = {}
    rows = 0
    async for part in service.features.GetHistoricalFeatures(request, timeout=60, **call):
        assert part.first_row == rows
        rows += len(part.features[0].statuses)
        for name, answers in by_name(part.features).items():
            found.setdefault(name, []).extend(answers)
    assert rows == len(request.event_time_us)
    return found
