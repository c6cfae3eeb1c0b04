"""Rows as Arrow tables, and back. Names that start with an underscore cannot be a column's own.

Arrays are made from buffers and read from buffers: `pa.array`, `pa.scalar` and `to_numpy` import pandas where there is
one, and the first call would wait for that.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import pyarrow  # noqa: ICN001  `pa` is its name with a type

from services.feature_store.domain.columns import Bools, Column, Field, Ints, Rows, ValueType

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
    columns = {EVENT_TIME: _instants(rows.event_us), CREATED_TIME: _instants(rows.created_us), **rows.columns}
    if event_ids is not None:
        columns[EVENT_ID] = Column.of(ValueType.STRING, event_ids)
    arrays = [_array(column) for column in columns.values()]
    return pa.Table.from_arrays(arrays, list(columns)).replace_schema_metadata(
        {_JOIN_KEYS: ",".join(key.name for key in join_keys)}
    )


def rows(content: Table, fields: Sequence[Field]) -> Rows:
    """The named fields of a table."""
    columns = {field.name: _column(content[field.name], field.type) for field in fields}
    return Rows(integers(content, EVENT_TIME), integers(content, CREATED_TIME), columns)


def join_keys(content: Table) -> list[str]:
    return content.schema.metadata[_JOIN_KEYS].decode().split(",")


def integers(content: Table, name: str) -> Ints:
    """A column of numbers, or of times in microseconds."""
    return _column(content[name], ValueType.INT64).values


def packed(content: Table) -> bytes:
    """As an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content)
    return sink.getvalue().to_pybytes()


def unpacked(content: bytes, sequence: int) -> Table:
    found = pa.ipc.open_stream(content).read_all()
    return found.append_column(SEQUENCE, numbers(np.full(len(found), sequence)))


def numbers(values: Ints) -> Any:
    """An Arrow array of them."""
    return pa.Array.from_buffers(pa.int64(), len(values), [None, pa.py_buffer(np.ascontiguousarray(values))])


def _instants(times: Ints) -> Column:
    return Column(ValueType.TIMESTAMP, times, np.ones(len(times), np.bool_))


def _array(column: Column) -> Any:
    valid = pa.py_buffer(np.packbits(column.valid, bitorder="little"))
    if column.type is ValueType.STRING:
        texts = [text.encode() for text in column.values.tolist()]
        ends = np.zeros(len(texts) + 1, np.int32)
        np.cumsum([len(text) for text in texts], out=ends[1:])
        buffers = [valid, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    elif column.type is ValueType.BOOL:
        buffers = [valid, pa.py_buffer(np.packbits(column.values, bitorder="little"))]
    else:
        buffers = [valid, pa.py_buffer(np.ascontiguousarray(column.values))]
    return pa.Array.from_buffers(_TYPES[column.type], len(column), buffers)


def _column(content: Any, value_type: ValueType) -> Column:
    array = content.combine_chunks()
    start, end = array.offset, array.offset + len(array)
    if start == end:
        return Column.nulls(value_type, 0)
    bits, *buffers = array.buffers()
    valid = _bits(bits, start, end) if bits else np.ones(end - start, np.bool_)
    if value_type is ValueType.STRING:
        ends = np.frombuffer(buffers[0], np.int32)[start : end + 1].tolist()
        text = buffers[1].to_pybytes() if buffers[1] else b""
        values = np.array([*(text[a:b].decode() for a, b in pairwise(ends)), None], object)[:-1]
    elif value_type is ValueType.BOOL:
        values = _bits(buffers[0], start, end)
    else:
        values = np.frombuffer(buffers[0], value_type.dtype)[start:end]
    # what lies in the place of a null is anything
    return Column(value_type, values, valid).where(valid)


def _bits(buffer: Any, start: int, end: int) -> Bools:
    return np.unpackbits(np.frombuffer(buffer, np.uint8), bitorder="little")[start:end].astype(np.bool_)
