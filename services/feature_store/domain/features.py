"""A feature's values for the rows of a request, each with how it was found."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from services.feature_store.domain.columns import Bools, Column, Ints, Rows


class Status(IntEnum):
    PRESENT = 1
    NULL = 2
    """The newest row says null."""
    NOT_FOUND = 3
    """Nothing is known of this instance."""
    TOO_OLD = 4
    """The newest row is older than the view's time to live, whatever it says."""


@dataclass(frozen=True, eq=False)
class Feature:
    values: Column
    """Null wherever the status is not PRESENT."""
    statuses: Ints
    event_us: Ints
    """When the value was true; 0 where nothing was found, and for what is computed or passed through."""

    def slice(self, start: int, stop: int) -> "Feature":
        index = np.arange(start, min(stop, len(self.statuses)))
        return Feature(self.values.take(index), self.statuses[index], self.event_us[index])


def computed(values: Column) -> Feature:
    """What has no time of its own: PRESENT or NULL."""
    statuses = np.where(values.valid, Status.PRESENT, Status.NULL)
    return Feature(values.where(values.valid), statuses, np.zeros(len(values), np.int64))


def of_rows(rows: Rows, names: Sequence[str], row_of: Ints, as_of_us: Ints, ttl_us: int) -> dict[str, Feature]:
    """Features of the rows that were found: `row_of` is the row for each answer, -1 for none.

    A row from after `as_of_us` counts as none, an age of exactly `ttl_us` as fresh; 0: never too old.
    """
    if len(rows) == 0:
        return {name: _absent(rows.columns[name], len(row_of)) for name in names}
    at = np.where(row_of >= 0, row_of, 0)
    event_us = rows.event_us[at]
    found = (row_of >= 0) & (event_us <= as_of_us)
    old = found & (as_of_us - event_us > ttl_us) if ttl_us else np.zeros(len(found), np.bool_)
    return {name: _judged(rows.columns[name].take(at), event_us, found, old) for name in names}


def _judged(column: Column, event_us: Ints, found: Bools, old: Bools) -> Feature:
    present = found & ~old & column.valid
    withheld = np.where(old, Status.TOO_OLD, Status.NULL)
    statuses = np.where(present, Status.PRESENT, np.where(found, withheld, Status.NOT_FOUND))
    return Feature(column.where(present), statuses, np.where(found, event_us, 0))


def _absent(column: Column, rows: int) -> Feature:
    return Feature(Column.nulls(column.type, rows), np.full(rows, Status.NOT_FOUND), np.zeros(rows, np.int64))
