"""A row of a view as bytes: what stands in Redis.

All numbers little-endian, nothing aligned:

    u8                 version of this layout
    u32                schema: which fields follow, assigned by the registry
    i64                event time, µs
    i64                created time, µs
    u8 * ceil(n / 8)   bit i % 8 of byte i / 8 is set where field i is null
    fixed block        in field order: INT64 and TIMESTAMP i64, DOUBLE f64, BOOL u8
    u32 * strings      where each string ends in what follows
    bytes              the strings, UTF-8, one after another

Everything but the strings has the same width in every row of a schema, so many rows are one numpy array.
The times stand in this place in every version: the online store compares them and knows nothing of the rest.
"""

from collections.abc import Sequence

import numpy as np

from services.feature_store.domain.columns import Column, Field, Rows, ValueType

VERSION = 1
TIMES_OFFSET = 5
_FORMATS = {ValueType.INT64: "<i8", ValueType.TIMESTAMP: "<i8", ValueType.DOUBLE: "<f8", ValueType.BOOL: "?"}


class UnreadableRow(Exception):
    """The bytes are not a whole row of this schema: torn, or of another layout or schema."""


class RowCodec:
    """Packs and unpacks rows of one schema."""

    def __init__(self, schema_id: int, fields: Sequence[Field]) -> None:
        self._schema_id = schema_id
        self._fields = tuple(fields)
        self._strings = [f for f in fields if f.type is ValueType.STRING]
        fixed = [(f.name, _FORMATS[f.type]) for f in fields if f.type in _FORMATS]
        # names that start with an underscore cannot be a field's
        self._layout = np.dtype(
            [
                ("_version", "u1"),
                ("_schema", "<u4"),
                ("_event", "<i8"),
                ("_created", "<i8"),
                ("_nulls", "u1", (-(-len(self._fields) // 8),)),
                *fixed,
                ("_ends", "<u4", (len(self._strings),)),
            ]
        )

    def encode(self, rows: Rows) -> list[bytes]:
        """One packed row for each row."""
        table = np.zeros(len(rows), self._layout)
        table["_version"] = VERSION
        table["_schema"] = self._schema_id
        table["_event"] = rows.event_us
        table["_created"] = rows.created_us
        nulls = np.array([~rows.columns[f.name].valid for f in self._fields], np.bool_).reshape(
            len(self._fields), len(rows)
        )
        table["_nulls"] = np.packbits(nulls.T, axis=1, bitorder="little")
        for field in self._fields:
            if field.type in _FORMATS:
                column = rows.columns[field.name]
                table[field.name] = np.where(column.valid, column.values, 0)
        texts = [self._texts(rows.columns[f.name]) for f in self._strings]
        for i, text in enumerate(texts):
            before = table["_ends"][:, i - 1] if i else 0
            table["_ends"][:, i] = before + np.fromiter(map(len, text), np.uint32, len(rows))
        packed, size = table.tobytes(), self._layout.itemsize
        fixed = (packed[start : start + size] for start in range(0, len(packed), size))
        return [b"".join(parts) for parts in zip(fixed, *texts, strict=True)]

    def decode(self, packed: Sequence[bytes]) -> Rows:
        """The rows again. Raises UnreadableRow if any is not a whole row of this schema."""
        size = self._layout.itemsize
        lengths = np.fromiter(map(len, packed), np.int64, len(packed))
        if (lengths < size).any():
            raise UnreadableRow(f"a row of {lengths.min()} bytes is shorter than the {size} of its schema")
        table = np.frombuffer(b"".join([row[:size] for row in packed]), self._layout)
        self._check(table, lengths - size)
        nulls = np.unpackbits(table["_nulls"], axis=1, count=len(self._fields), bitorder="little").astype(np.bool_)
        columns: dict[str, Column] = {}
        for i, field in enumerate(self._fields):
            values = table[field.name] if field.type in _FORMATS else self._unpacked(packed, table, field)
            columns[field.name] = Column(field.type, values, ~nulls[:, i])
        return Rows(table["_event"], table["_created"], columns)

    def _check(self, table: np.ndarray, tails: np.ndarray) -> None:
        if (table["_version"] != VERSION).any():
            raise UnreadableRow(f"a row has a layout other than version {VERSION}")
        if (table["_schema"] != self._schema_id).any():
            raise UnreadableRow(f"a row has a schema other than {self._schema_id}")
        ends = table["_ends"].astype(np.int64)
        if (np.diff(ends, axis=1, prepend=0) < 0).any() or (tails != (ends[:, -1] if self._strings else 0)).any():
            raise UnreadableRow("a row is longer or shorter than its strings")

    def _texts(self, column: Column) -> list[bytes]:
        pairs = zip(column.values, column.valid, strict=True)
        return [text.encode() if valid else b"" for text, valid in pairs]

    def _unpacked(self, packed: Sequence[bytes], table: np.ndarray, field: Field) -> np.ndarray:
        i, size = self._strings.index(field), self._layout.itemsize
        ends = table["_ends"].astype(np.int64) + size
        starts = ends[:, i - 1] if i else np.full(len(packed), size)
        try:
            texts = [row[a:b].decode() for row, a, b in zip(packed, starts.tolist(), ends[:, i].tolist(), strict=True)]
        except UnicodeDecodeError as error:
            raise UnreadableRow(f"{field.name} is not UTF-8") from error
        return np.array([*texts, None], object)[:-1]
