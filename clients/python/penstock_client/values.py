"""Python's values as Penstock's, and back. None is null; a float that is NaN stays NaN."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from penstock.feature_store.v1.value_pb2 import Column, Value, ValueType

Scalar = bool | int | float | str | datetime | None
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# bool before int: it is one
_TYPES: tuple[tuple[type, ValueType, str], ...] = (
    (bool, ValueType.VALUE_TYPE_BOOL, "bool"),
    (int, ValueType.VALUE_TYPE_INT64, "int64"),
    (float, ValueType.VALUE_TYPE_DOUBLE, "double"),
    (str, ValueType.VALUE_TYPE_STRING, "string"),
    (datetime, ValueType.VALUE_TYPE_TIMESTAMP, "timestamp"),
)
_LISTS = {
    ValueType.VALUE_TYPE_BOOL: "bool_values",
    ValueType.VALUE_TYPE_INT64: "int64_values",
    ValueType.VALUE_TYPE_DOUBLE: "double_values",
    ValueType.VALUE_TYPE_STRING: "string_values",
    ValueType.VALUE_TYPE_TIMESTAMP: "timestamp_us_values",
}
_ZEROS: dict[ValueType, Any] = {
    ValueType.VALUE_TYPE_BOOL: False,
    ValueType.VALUE_TYPE_INT64: 0,
    ValueType.VALUE_TYPE_DOUBLE: 0.0,
    ValueType.VALUE_TYPE_STRING: "",
    ValueType.VALUE_TYPE_TIMESTAMP: 0,
}


def value(scalar: Scalar) -> Value:
    """Raises TypeError for what Penstock has no type for, ValueError for a datetime without a zone."""
    if scalar is None:
        return Value()
    for kind, _, name in _TYPES:
        if isinstance(scalar, kind):
            if isinstance(scalar, datetime):
                stamp = Timestamp()
                stamp.FromMicroseconds(microseconds(scalar))
                return Value(timestamp_value=stamp)
            return Value(**{f"{name}_value": scalar})
    raise TypeError(f"{scalar!r} is a {type(scalar).__name__}; a value is a bool, int, float, str, datetime or None")


def python_value(sent: Value) -> Scalar:
    kind = sent.WhichOneof("kind")
    if kind is None:
        return None
    if kind == "timestamp_value":
        return sent.timestamp_value.ToDatetime(tzinfo=UTC)
    return getattr(sent, kind)


def column(name: str, values: Sequence[Scalar], kind: ValueType | None = None) -> Column:
    """A column of one type: `kind`, or that of its first value that is not None (all None: DOUBLE)."""
    if kind is None:
        first = next((v for v in values if v is not None), 0.0)
        kind = next(t for k, t, _ in _TYPES if isinstance(first, k))
    zero = _ZEROS[kind]
    is_time = kind == ValueType.VALUE_TYPE_TIMESTAMP
    sent = [zero if v is None else microseconds(v) if is_time and isinstance(v, datetime) else v for v in values]
    valid = [v is not None for v in values] if None in values else []
    return Column(name=name, type=kind, valid=valid, **{_LISTS[kind]: sent})


def python_values(sent: Column) -> list[Scalar]:
    listed: list[Any] = list(getattr(sent, _LISTS[sent.type]))
    if sent.type == ValueType.VALUE_TYPE_TIMESTAMP:
        listed = [EPOCH + timedelta(microseconds=us) for us in listed]
    return [v if ok else None for v, ok in zip(listed, sent.valid, strict=True)] if sent.valid else listed


def microseconds(moment: datetime) -> int:
    """Since 1970-01-01 UTC."""
    if moment.tzinfo is None:
        raise ValueError(f"{moment} has no time zone")
    return (moment - EPOCH) // timedelta(microseconds=1)
