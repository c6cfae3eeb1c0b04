"""Definitions on the wire, and in the domain.

What the wire leaves out and the domain cannot do without is a fault, and something stands in its place, so that the
domain finds the other faults in the same definition.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors import Faults
from penstock.feature_store.v1 import feature_view_pb2 as pb
from penstock.feature_store.v1 import value_pb2
from services.feature_store.domain import definitions as d
from services.feature_store.domain.columns import Field, ValueType
from services.feature_store.servers.columns import FROM_WIRE, TO_WIRE

_FUNCTIONS: Mapping[int, d.Function] = {
    pb.AggregationFunction.Value(f"AGGREGATION_FUNCTION_{f.value}"): f for f in d.Function
}
_TRANSFORMS: Mapping[int, d.Transform] = {
    pb.TransformationFunction.Value(f"TRANSFORMATION_FUNCTION_{t.value}"): t for t in d.Transform
}
_LONGEST_SECONDS = 100 * 366 * 86_400


def decode_entity(wire: pb.Entity, faults: Faults) -> d.Entity:
    return d.Entity(wire.name, _fields(wire.join_keys, "entity.join_keys", faults), wire.description)


def decode_view(wire: pb.FeatureView, faults: Faults) -> d.FeatureView:
    return d.FeatureView(
        name=wire.name,
        entity=wire.entity,
        source=_source(wire, faults),
        ttl_us=_micros(wire.time_to_live, "feature_view.time_to_live", faults),
        description=wire.description,
    )


def decode_service(wire: pb.FeatureService) -> d.FeatureService:
    references = tuple(d.FeatureReference(r.view, r.feature, r.alias, FROM_WIRE.get(r.type)) for r in wire.features)
    return d.FeatureService(wire.name, references, wire.description)


def encode_entity(entity: d.Entity) -> pb.Entity:
    return pb.Entity(
        name=entity.name,
        join_keys=encode_fields(entity.join_keys),
        description=entity.description,
        etag=entity.etag,
        create_time=_timestamp(entity.create_time),
    )


def encode_view(view: d.FeatureView) -> pb.FeatureView:
    wire = pb.FeatureView(
        name=view.name,
        entity=view.entity,
        time_to_live=_duration(view.ttl_us) if view.ttl_us else None,
        description=view.description,
        etag=view.etag,
        create_time=_timestamp(view.create_time),
    )
    match view.source:
        case d.BatchSource(features):
            wire.batch.features.extend(encode_fields(features))
        case d.StreamSource(event_fields, aggregations):
            wire.stream.event_fields.extend(encode_fields(event_fields))
            wire.stream.aggregations.extend(_aggregation(a) for a in aggregations)
        case d.OnDemandSource(request_fields, transformations):
            wire.on_demand.request_fields.extend(encode_fields(request_fields))
            wire.on_demand.transformations.extend(_transformation(t) for t in transformations)
    return wire


def encode_service(service: d.FeatureService) -> pb.FeatureService:
    return pb.FeatureService(
        name=service.name,
        features=[
            pb.FeatureReference(view=r.view, feature=r.feature, alias=r.alias, type=_wire_type(r.type))
            for r in service.features
        ],
        description=service.description,
        etag=service.etag,
        create_time=_timestamp(service.create_time),
    )


def encode_fields(fields: Iterable[Field]) -> list[pb.Field]:
    return [pb.Field(name=field.name, type=TO_WIRE[field.type]) for field in fields]


def _wire_type(kind: ValueType | None) -> "value_pb2.ValueType.ValueType":
    return TO_WIRE[kind] if kind else value_pb2.VALUE_TYPE_UNSPECIFIED


def _source(wire: pb.FeatureView, faults: Faults) -> d.Source:
    match wire.WhichOneof("source"):
        case "batch":
            return d.BatchSource(_fields(wire.batch.features, "feature_view.batch.features", faults))
        case "stream":
            fields = _fields(wire.stream.event_fields, "feature_view.stream.event_fields", faults)
            path = "feature_view.stream.aggregations"
            found = [_decoded(a, f"{path}[{i}]", faults) for i, a in enumerate(wire.stream.aggregations)]
            return d.StreamSource(fields, tuple(found))
        case "on_demand":
            fields = _fields(wire.on_demand.request_fields, "feature_view.on_demand.request_fields", faults)
            path = "feature_view.on_demand.transformations"
            made = [_made(t, f"{path}[{i}]", faults) for i, t in enumerate(wire.on_demand.transformations)]
            return d.OnDemandSource(fields, tuple(made))
        case _:
            faults.add("feature_view.source", "one of batch, stream and on_demand is needed")
            return d.BatchSource(())


def _decoded(wire: pb.Aggregation, path: str, faults: Faults) -> d.Aggregation:
    window_us = _micros(wire.window, f"{path}.window", faults)
    function = _FUNCTIONS.get(wire.function)
    faults.require(function, f"{path}.function", "is not set")
    guess = d.Function.SUM if wire.field else d.Function.COUNT
    return d.Aggregation(wire.feature, function or guess, wire.field, window_us)


def _made(wire: pb.Transformation, path: str, faults: Faults) -> d.Transformation:
    function = _TRANSFORMS.get(wire.function)
    faults.require(function, f"{path}.function", "is not set")
    guess = d.Transform.LOCAL_HOUR if wire.time_zone else d.Transform.DIFFERENCE
    return d.Transformation(wire.feature, function or guess, tuple(wire.inputs), wire.time_zone)


def _fields(fields: Iterable[pb.Field], path: str, faults: Faults) -> tuple[Field, ...]:
    found: list[Field] = []
    for i, field in enumerate(fields):
        kind = FROM_WIRE.get(field.type)
        faults.require(kind, f"{path}[{i}].type", "is not set")
        found.append(Field(field.name, kind or ValueType.INT64))
    return tuple(found)


def _micros(duration: Duration, path: str, faults: Faults) -> int:
    faults.require(duration.nanos % 1000 == 0, path, "is not whole microseconds")
    faults.require(abs(duration.seconds) <= _LONGEST_SECONDS, path, "is longer than a hundred years")
    return duration.seconds * 1_000_000 + duration.nanos // 1000


def _aggregation(aggregation: d.Aggregation) -> pb.Aggregation:
    return pb.Aggregation(
        feature=aggregation.feature,
        function=pb.AggregationFunction.Value(f"AGGREGATION_FUNCTION_{aggregation.function.value}"),
        field=aggregation.field,
        window=_duration(aggregation.window_us),
    )


def _transformation(made: d.Transformation) -> pb.Transformation:
    return pb.Transformation(
        feature=made.feature,
        function=pb.TransformationFunction.Value(f"TRANSFORMATION_FUNCTION_{made.function.value}"),
        inputs=made.inputs,
        time_zone=made.time_zone,
    )


def _duration(micros: int) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(micros)
    return duration


def _timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
