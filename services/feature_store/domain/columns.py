"""Columns of typed values, row by row: what is written, read and joined."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Array: TypeAlias = npt.NDArray[Any]

LATEST_US = 2**53
"""Times lie within ± this (1684 to 2255): Redis keeps scores, and Lua numbers, as doubles."""


class ValueType(Enum):
    INT64 = "INT64"
    DOUBLE = "DOUBLE"
    STRING = "STRING"
    BOOL = "BOOL"
    TIMESTAMP = "TIMESTAMP"
    """Microseconds since 1970-01-01 UTC."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of an array of such values."""
        return _DTYPES[self]


_DTYPES: Mapping[ValueType, np.dtype[Any]] = {
    ValueType.INT64: np.dtype(np.int64),
    ValueType.DOUBLE: np.dtype(np.float64),
    ValueType.STRING: np.dtype(object),
    ValueType.BOOL: np.dtype(np.bool_),
    ValueType.TIMESTAMP: np.dtype(np.int64),
}
_ZEROS: Mapping[ValueType, Any] = {t: "" if t is ValueType.STRING else 0 for t in ValueType}
NUMERIC = frozenset({ValueType.INT64, ValueType.DOUBLE})


@dataclass(frozen=True)
class Field:
    name: str
    type: ValueType

    def __str__(self) -> str:
        return f"{self.name} ({self.type.value})"


@dataclass(frozen=True, eq=False)
class Column:
    """Values of one type and which of them count; the others are null and hold a zero."""

    type: ValueType
    values: Array
    valid: Bools

    @classmethod
    def of(cls, value_type: ValueType, values: Iterable[object]) -> "Column":
        """None is null."""
        listed = list(values)
        valid = np.fromiter((v is not None for v in listed), np.bool_, len(listed))
        filled = np.empty(len(listed), value_type.dtype)
        filled[:] = [_ZEROS[value_type] if v is None else v for v in listed]
        return cls(value_type, filled, valid)

    @classmethod
    def nulls(cls, value_type: ValueType, rows: int) -> "Column":
        return cls(value_type, np.full(rows, _ZEROS[value_type], value_type.dtype), np.zeros(rows, np.bool_))

    def __len__(self) -> int:
        return len(self.values)

    def where(self, valid: Bools) -> "Column":
        """The same values, null wherever `valid` is false."""
        values = np.full(len(self), _ZEROS[self.type], self.type.dtype)
        values[valid] = self.values[valid]
        return Column(self.type, values, valid)

    def take(self, index: Ints) -> "Column":
        return Column(self.type, self.values[index], self.valid[index])

    def objects(self) -> list[object]:
        """As Python values, None for null."""
        return [v if ok else None for v, ok in zip(self.values.tolist(), self.valid.tolist(), strict=True)]


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a view: when each became true, when it became known, and what it says."""

    event_us: Ints
    created_us: Ints
    columns: Mapping[str, Column]

    def __len__(self) -> int:
        return len(self.event_us)

    def take(self, index: Ints) -> "Rows":
        columns = {name: column.take(index) for name, column in self.columns.items()}
        return Rows(self.event_us[index], self.created_us[index], columns)


def no_rows(fields: Iterable[Field]) -> Rows:
    none = np.zeros(0, np.int64)
    return Rows(none, none, {field.name: Column.nulls(field.type, 0) for field in fields})
