"""A small set of features for tests: a plane's facts, an airport's weather, delays of a carrier at an airport."""

import numpy as np

from libs.errors import Faults
from services.feature_store.domain.columns import Column, Field, Rows, ValueType
from services.feature_store.domain.definitions import (
    Aggregation,
    BatchSource,
    Entity,
    FeatureReference,
    FeatureService,
    FeatureView,
    Function,
    OnDemandSource,
    StreamSource,
    Transform,
    Transformation,
)
from services.feature_store.domain.plan import plan

D, S, B, T = ValueType.DOUBLE, ValueType.STRING, ValueType.BOOL, ValueType.TIMESTAMP
SECOND = 1_000_000
HOUR = 3600 * SECOND
TTL = 3 * HOUR

AIRPORT = Entity("airport", (Field("origin", S),))
CARRIER = Entity("carrier_at_airport", (Field("carrier", S), Field("origin", S)))
WEATHER = FeatureView(
    "weather",
    "airport",
    BatchSource(
        (Field("wind", D), Field("sky", S), Field("ice", B), Field("seen", ValueType.INT64), Field("observed", T))
    ),
    ttl_us=TTL,
    view_id=1,
    schema_id=11,
)
WINDOWS = tuple(
    Aggregation(f"{function.value.lower()}_{name or 'all'}_{hours}h", function, name, hours * HOUR)
    for hours in (1, 3)
    for function, name in (
        (Function.COUNT, ""),
        (Function.SUM, "delay"),
        (Function.MEAN, "delay"),
        (Function.MIN, "delay"),
        (Function.MAX, "delay"),
        (Function.MEAN, "late"),
    )
)
DELAYS = FeatureView(
    "delays",
    "carrier_at_airport",
    StreamSource((Field("delay", D), Field("late", B)), WINDOWS),
    view_id=2,
    schema_id=12,
)
CLOCK = FeatureView(
    "clock",
    "",
    OnDemandSource(
        (Field("scheduled", T), Field("distance", D)),
        (
            Transformation("hour", Transform.LOCAL_HOUR, ("scheduled",), "America/New_York"),
            Transformation("weekday", Transform.LOCAL_WEEKDAY, ("scheduled",), "America/New_York"),
            Transformation("against_wind", Transform.DIFFERENCE, ("distance", "weather:wind"), ""),
            Transformation("per_wind", Transform.RATIO, ("clock0:double", "weather:wind"), ""),
        ),
    ),
    view_id=3,
)
CLOCK0 = FeatureView(
    "clock0",
    "",
    OnDemandSource(
        (Field("distance", D),), (Transformation("double", Transform.DIFFERENCE, ("distance", "distance"), ""),)
    ),
    view_id=4,
)
VIEWS = {view.name: view for view in (WEATHER, DELAYS, CLOCK, CLOCK0)}
ENTITIES = {entity.name: entity for entity in (AIRPORT, CARRIER)}
SERVICE = FeatureService(
    "flight",
    (
        *(FeatureReference("weather", f.name) for f in WEATHER.features),
        *(FeatureReference("delays", a.feature) for a in WINDOWS),
        *(FeatureReference("clock", name) for name in ("hour", "weekday", "against_wind", "per_wind")),
        FeatureReference("", "distance", "miles", D),
    ),
)
PLAN = plan(SERVICE, VIEWS, ENTITIES, Faults())
STORED = {stored.view.name: stored for stored in PLAN.stored}


def rows(stored, written):
    """Rows of a view from `Written`."""
    columns = {
        key.name: Column.of(key.type, [row.key[i] for row in written]) for i, key in enumerate(stored.entity.join_keys)
    }
    columns |= {f.name: Column.of(f.type, [row.values[f.name] for row in written]) for f in stored.view.stored}
    event_us = np.array([row.event_us for row in written], np.int64)
    return Rows(event_us, np.array([row.created_us for row in written], np.int64), columns)


def entity_columns(keys):
    """From (carrier, origin) pairs."""
    return {
        "carrier": Column.of(S, [carrier for carrier, _ in keys]),
        "origin": Column.of(S, [origin for _, origin in keys]),
    }


def answers(feature):
    """(value, status, event time) row by row."""
    return list(zip(feature.values.objects(), feature.statuses.tolist(), feature.event_us.tolist(), strict=True))
