"""What a prediction is made from: declared once, the same online and in training sets."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
from google.protobuf.duration_pb2 import Duration

from examples.flights.data import PLANE, WEATHER
from penstock.feature_store.v1 import feature_registry_service_pb2 as registry
from penstock.feature_store.v1 import feature_view_pb2 as fv
from penstock.feature_store.v1.feature_serving_service_pb2 import PushEventsRequest, WriteFeaturesRequest
from penstock.feature_store.v1.value_pb2 import Column, ValueType
from penstock_client import Penstock, column

SERVICE = "flight_delay"
BATCH_ROWS = 5_000
DEADLINE_SECONDS = 60.0

_STRING, _DOUBLE = ValueType.VALUE_TYPE_STRING, ValueType.VALUE_TYPE_DOUBLE
_ZONE = "America/New_York"
_WINDOWS = (
    ("departures_1h", fv.AGGREGATION_FUNCTION_COUNT, "", 1),
    ("mean_delay_1h", fv.AGGREGATION_FUNCTION_MEAN, "delay", 1),
    ("late_share_3h", fv.AGGREGATION_FUNCTION_MEAN, "late", 3),
)


def _field(name: str, kind: ValueType) -> fv.Field:
    return fv.Field(name=name, type=kind)


def _hours(hours: float) -> Duration:
    duration = Duration()
    duration.FromTimedelta(timedelta(hours=hours))
    return duration


ENTITIES = (
    fv.Entity(name="plane", join_keys=[_field("tailnum", _STRING)]),
    fv.Entity(name="airport", join_keys=[_field("origin", _STRING)]),
    fv.Entity(name="carrier_at_airport", join_keys=[_field("carrier", _STRING), _field("origin", _STRING)]),
)


def _delays(view: str, entity: str) -> fv.FeatureView:
    """Departures over the last hours. An event happens when the flight leaves: only then is its delay known."""
    return fv.FeatureView(
        name=view,
        entity=entity,
        stream=fv.StreamSource(
            event_fields=[_field("delay", _DOUBLE), _field("late", ValueType.VALUE_TYPE_BOOL)],
            aggregations=[
                fv.Aggregation(feature=feature, function=function, field=field, window=_hours(hours))
                for feature, function, field, hours in _WINDOWS
            ],
        ),
    )


VIEWS = (
    fv.FeatureView(
        name="plane_facts",
        entity="plane",
        batch=fv.BatchSource(features=[_field(name, ValueType.VALUE_TYPE_INT64) for name in PLANE]),
    ),
    fv.FeatureView(
        name="airport_weather",
        entity="airport",
        time_to_live=_hours(3),
        batch=fv.BatchSource(features=[_field(name, _DOUBLE) for name in WEATHER]),
    ),
    _delays("airport_delays", "airport"),
    _delays("carrier_delays", "carrier_at_airport"),
    fv.FeatureView(
        name="departure_time",
        on_demand=fv.OnDemandSource(
            request_fields=[_field("scheduled", ValueType.VALUE_TYPE_TIMESTAMP)],
            transformations=[
                fv.Transformation(
                    feature="hour",
                    function=fv.TRANSFORMATION_FUNCTION_LOCAL_HOUR,
                    inputs=["scheduled"],
                    time_zone=_ZONE,
                ),
                fv.Transformation(
                    feature="weekday",
                    function=fv.TRANSFORMATION_FUNCTION_LOCAL_WEEKDAY,
                    inputs=["scheduled"],
                    time_zone=_ZONE,
                ),
            ],
        ),
    ),
)

_REFERENCES = (
    *(fv.FeatureReference(view="plane_facts", feature=name, alias=f"plane_{name}") for name in PLANE),
    *(fv.FeatureReference(view="airport_weather", feature=name) for name in WEATHER),
    *(fv.FeatureReference(view="airport_delays", feature=f, alias=f"airport_{f}") for f, *_ in _WINDOWS),
    *(fv.FeatureReference(view="carrier_delays", feature=f, alias=f"carrier_{f}") for f, *_ in _WINDOWS),
    fv.FeatureReference(view="departure_time", feature="hour"),
    fv.FeatureReference(view="departure_time", feature="weekday"),
    fv.FeatureReference(feature="distance", type=_DOUBLE),
)
NAMES = tuple(reference.alias or reference.feature for reference in _REFERENCES)


def register(penstock: Penstock) -> None:
    """Declare entities, views and the feature service."""
    calls = penstock.feature_registry
    for entity in ENTITIES:
        calls.CreateEntity(registry.CreateEntityRequest(entity=entity))
    for view in VIEWS:
        calls.CreateFeatureView(registry.CreateFeatureViewRequest(feature_view=view))
    service = fv.FeatureService(name=SERVICE, features=_REFERENCES)
    calls.CreateFeatureService(registry.CreateFeatureServiceRequest(feature_service=service))


def write_planes(penstock: Penstock, planes: pd.DataFrame) -> None:
    """What is known of a plane was known before the year began."""
    known = pd.Series(pd.Timestamp("2012-12-31", tz="UTC"), index=planes.index)
    _write(penstock, "plane_facts", planes, "tailnum", dict.fromkeys(PLANE, int), known)


def write_weather(penstock: Penstock, weather: pd.DataFrame) -> None:
    _write(penstock, "airport_weather", weather, "origin", dict.fromkeys(WEATHER, float), weather["observed"])


def push_departures(penstock: Penstock, flights: pd.DataFrame) -> None:
    """Each flight is an event of its airport and of its carrier there, at its actual departure."""
    for start in range(0, len(flights), BATCH_ROWS):
        batch = flights.iloc[start : start + BATCH_ROWS]
        happened = [column("delay", batch["delay"].tolist()), column("late", batch["late"].tolist())]
        for view, keys in (("airport_delays", ["origin"]), ("carrier_delays", ["carrier", "origin"])):
            columns = [column(key, batch[key].tolist()) for key in keys] + happened
            penstock.features.PushEvents(
                PushEventsRequest(
                    view=view, columns=columns, event_time_us=micros(batch["departed"]), event_ids=batch["id"].tolist()
                ),
                timeout=DEADLINE_SECONDS,
            )


def key_columns(flights: pd.DataFrame) -> list[Column]:
    return [column(key, flights[key].tolist()) for key in ("tailnum", "carrier", "origin")]


def request_columns(flights: pd.DataFrame) -> list[Column]:
    scheduled = [moment.to_pydatetime() for moment in flights["scheduled"]]
    return [column("scheduled", scheduled), column("distance", flights["distance"].tolist())]


def micros(times: pd.Series) -> list[int]:
    return times.dt.as_unit("us").astype("int64").tolist()


def _write(
    penstock: Penstock, view: str, frame: pd.DataFrame, key: str, types: dict[str, type], times: pd.Series
) -> None:
    for start in range(0, len(frame), BATCH_ROWS):
        batch = frame.iloc[start : start + BATCH_ROWS]
        columns = [column(key, batch[key].tolist())]
        for name, kind in types.items():
            values = [None if pd.isna(v) else kind(v) for v in batch[name]]
            value_type = ValueType.VALUE_TYPE_INT64 if kind is int else _DOUBLE
            columns.append(column(name, values, value_type))
        penstock.features.WriteFeatures(
            WriteFeaturesRequest(
                view=view, columns=columns, event_time_us=micros(times.iloc[start : start + BATCH_ROWS])
            ),
            timeout=DEADLINE_SECONDS,
        )
