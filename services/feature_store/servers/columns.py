"""Columns on the wire, and in the domain."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from libs.errors import Faults
from penstock.feature_store.v1 import feature_serving_service_pb2 as pb
from penstock.feature_store.v1 import value_pb2
from services.feature_store.domain.columns import Column, Field, ValueType
from services.feature_store.domain.features import Feature, Status
from services.feature_store.domain.requests import check_times

TO_WIRE: "Mapping[ValueType, value_pb2.ValueType.ValueType]" = {
    kind: value_pb2.ValueType.Value(f"VALUE_TYPE_{kind.value}") for kind in ValueType
}
FROM_WIRE: Mapping[int, ValueType] = {int(number): kind for kind, number in TO_WIRE.items()}
_LISTS: Mapping[ValueType, str] = {
    ValueType.INT64: "int64_values",
    ValueType.DOUBLE: "double_values",
    ValueType.STRING: "string_values",
    ValueType.BOOL: "bool_values",
    ValueType.TIMESTAMP: "timestamp_us_values",
}
_STATUSES: "Mapping[int, value_pb2.FeatureStatus.ValueType]" = {
    int(status): value_pb2.FeatureStatus.Value(f"FEATURE_STATUS_{status.name}") for status in Status
}


def decode(columns: Iterable[value_pb2.Column], path: str, faults: Faults) -> dict[str, Column]:
    """By name; columns that are not sound are left out, with a fault for each."""
    found: dict[str, Column] = {}
    for i, wire in enumerate(columns):
        at = f"{path}[{i}]"
        faults.require(wire.name not in found, at, f"column {wire.name!r} is there twice")
        column = _column(wire, at, faults)
        if column is not None:
            found[wire.name] = column
    return found


def length(column: value_pb2.Column) -> int:
    """Of its list; 0 for a column without a type."""
    kind = FROM_WIRE.get(column.type)
    return len(getattr(column, _LISTS[kind])) if kind else 0


def encode(features: Sequence[Feature], outputs: Sequence[Field]) -> list[pb.FeatureColumn]:
    """In order; named by `outputs`."""
    return [
        pb.FeatureColumn(
            values=_wire(feature.values, output.name),
            statuses=[_STATUSES[status] for status in feature.statuses.tolist()],
            event_time_us=feature.event_us.tolist(),
        )
        for feature, output in zip(features, outputs, strict=True)
    ]


def _wire(column: Column, name: str) -> value_pb2.Column:
    wire = value_pb2.Column(name=name, type=TO_WIRE[column.type])
    getattr(wire, _LISTS[column.type]).extend(column.values.tolist())
    if not column.valid.all():
        wire.valid.extend(column.valid.tolist())
    return wire


def _column(wire: value_pb2.Column, path: str, faults: Faults) -> Column | None:
    kind = FROM_WIRE.get(wire.type)
    if kind is None:
        faults.add(f"{path}.type", "is not set")
        return None
    for other, name in _LISTS.items():
        if other is not kind and len(getattr(wire, name)):
            faults.add(f"{path}.{name}", f"is set, but the column is {kind.value}")
    sent = getattr(wire, _LISTS[kind])
    rows = len(sent)
    if len(wire.valid) not in (0, rows):
        faults.add(f"{path}.valid", f"{len(wire.valid)} for {rows} values")
        return None
    values = np.empty(rows, kind.dtype)
    values[:] = sent
    valid = np.array(wire.valid, np.bool_) if wire.valid else np.ones(rows, np.bool_)
    column = Column(kind, values, valid).where(valid)
    if kind is ValueType.TIMESTAMP:
        check_times(column.values, rows, f"{path}.{_LISTS[kind]}", faults)
    return column
