"""Rows as Arrow tables, and back. Names that start with an underscore cannot be a column's own."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow  # noqa: ICN001  `pa` is its name with a type

from services.feature_store.domain.columns import Array, Column, Field, Ints, Rows, ValueType

# pyarrow carries no types
pa: Any = pyarrow
Table: TypeAlias = Any
"""A pyarrow.Table."""
ArrowError: type[Exception] = pa.ArrowException

EVENT_TIME = "_event_time"
CREATED_TIME = "_created_time"
SEQUENCE = "_sequence"
"""The order of writing: rows of one write have the same, and stay in their order."""
EVENT_ID = "_event_id"

_JOIN_KEYS = b"penstock.join_keys"
_INSTANT = pa.timestamp("us", tz="UTC")
_TYPES: Mapping[ValueType, Any] = {
    ValueType.INT64: pa.int64(),
    ValueType.DOUBLE: pa.float64(),
    ValueType.STRING: pa.string(),
    ValueType.BOOL: pa.bool_(),
    ValueType.TIMESTAMP: _INSTANT,
}


def table(rows: Rows, join_keys: Sequence[Field], event_ids: Sequence[str] | None = None) -> Table:
    """Without a sequence, which the store assigns. The names of the join keys stand in the schema's metadata."""
    arrays: dict[str, Any] = {EVENT_TIME: _instants(rows.event_us), CREATED_TIME: _instants(rows.created_us)}
    if event_ids is not None:
        arrays[EVENT_ID] = pa.array(event_ids, pa.string())
    for name, column in rows.columns.items():
        arrays[name] = pa.array(column.values, mask=~column.valid, type=_TYPES[column.type])
    return pa.table(arrays).replace_schema_metadata({_JOIN_KEYS: ",".join(key.name for key in join_keys)})


def rows(content: Table, fields: Sequence[Field]) -> Rows:
    """The named fields of a table."""
    columns = {field.name: _column(content[field.name], field.type) for field in fields}
    return Rows(micros(content, EVENT_TIME), micros(content, CREATED_TIME), columns)


def join_keys(content: Table) -> list[str]:
    return content.schema.metadata[_JOIN_KEYS].decode().split(",")


def micros(content: Table, name: str) -> Ints:
    return content[name].cast(pa.int64()).to_numpy()


def packed(content: Table) -> bytes:
    """As an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content)
    return sink.getvalue().to_pybytes()


def unpacked(content: bytes, sequence: int) -> Table:
    found = pa.ipc.open_stream(content).read_all()
    return found.append_column(SEQUENCE, pa.array(np.full(len(found), sequence)))


def _instants(times: Ints) -> Any:
    return pa.array(times, pa.int64()).cast(_INSTANT)


def _column(content: Any, value_type: ValueType) -> Column:
    valid: Array = content.is_valid().to_numpy()
    if value_type is ValueType.TIMESTAMP:
        content = content.cast(pa.int64())
    zero = {ValueType.STRING: "", ValueType.BOOL: False}.get(value_type, 0)
    values: Array = content.fill_null(zero).to_numpy()
    return Column(value_type, values.astype(value_type.dtype, copy=False), valid)
