"""Whether the columns of a request are what is asked for: every fault at once, by name."""

from collections.abc import Mapping, Sequence

import numpy as np

from libs.errors import Faults
from services.feature_store.domain.columns import LATEST_US, Column, Field, Ints, ValueType
from services.feature_store.domain.definitions import StreamSource
from services.feature_store.domain.plan import Plan, StoredView

MOST_WRITTEN = 10_000
MOST_ONLINE = 1_000
MOST_HISTORICAL = 100_000
LONGEST_KEY = 512
LONGEST_EVENT_ID = 256
LARGEST = 1e290
"""Of a number in an event: so large a sum cannot overflow."""
AHEAD_US = 86_400 * 1_000_000
"""Rows may be dated a day ahead of the clock: one dated years ahead would hide all others for years."""


def check_read(
    plan: Plan, rows: int, most: int, entities: Mapping[str, Column], request: Mapping[str, Column], faults: Faults
) -> None:
    """What readers send: exactly the join keys and the request features of the service."""
    faults.require(rows, "entities", "there are no rows")
    faults.require(rows <= most, "entities", f"{rows} rows: at most {most}")
    _check_fields(plan.join_keys, entities, "entities", "join key", faults)
    _check_fields(plan.request_fields, request, "request_features", "request feature", faults)
    for path, columns in (("entities", entities), ("request_features", request)):
        _check_lengths(columns, rows, path, faults)


def check_written(stored: StoredView, rows: int, columns: Mapping[str, Column], faults: Faults) -> None:
    """What writers send: all join keys, never null; any of the view's fields."""
    faults.require(rows, "event_time_us", "there are no rows: one time for each row is needed")
    faults.require(rows <= MOST_WRITTEN, "event_time_us", f"{rows} rows: at most {MOST_WRITTEN}")
    keys = stored.entity.join_keys
    optional = {field.name: field for field in stored.view.stored}
    wanted = {**{key.name: key for key in keys}, **{n: f for n, f in optional.items() if n in columns}}
    _check_fields(tuple(wanted.values()), columns, "columns", "join key", faults)
    _check_lengths(columns, rows, "columns", faults)
    for key in keys:
        column = columns.get(key.name)
        if column is not None and column.type is key.type:
            faults.require(column.valid.all(), "columns", f"join key {key.name!r} is null in a row")
            short = key.type is not ValueType.STRING or all(len(v.encode()) <= LONGEST_KEY for v in column.values)
            faults.require(short, "columns", f"join key {key.name!r} is longer than {LONGEST_KEY} bytes in a row")
    if isinstance(stored.view.source, StreamSource):
        for name, column in columns.items():
            if name in optional and column.type is ValueType.DOUBLE:
                finite = (np.abs(column.values) < LARGEST) | ~column.valid
                faults.require(
                    finite.all(), "columns", f"{name!r} holds a number that cannot be summed (NaN, infinite)"
                )


def check_times(times: Ints, rows: int, path: str, faults: Faults, now_us: int | None = None) -> None:
    """One time for each row, not further ahead of `now_us` than a day."""
    faults.require(len(times) == rows, path, f"{len(times)} times for {rows} rows")
    within = (times >= -LATEST_US) & (times <= LATEST_US)
    faults.require(within.all(), path, "a time is not between the years 1684 and 2255")
    if now_us is not None:
        faults.require((times <= now_us + AHEAD_US).all(), path, "a time is more than a day ahead of the clock")


def check_event_ids(event_ids: Sequence[str], rows: int, faults: Faults) -> None:
    faults.require(len(event_ids) == rows, "event_ids", f"{len(event_ids)} ids for {rows} rows")
    for i, event_id in enumerate(event_ids):
        fits = 1 <= len(event_id.encode()) <= LONGEST_EVENT_ID and "\0" not in event_id
        faults.require(fits, f"event_ids[{i}]", f"is not 1 to {LONGEST_EVENT_ID} bytes without NUL")


def _check_fields(fields: Sequence[Field], columns: Mapping[str, Column], path: str, what: str, faults: Faults) -> None:
    wanted = {field.name: field for field in fields}
    for name, field in wanted.items():
        column = columns.get(name)
        if column is None:
            faults.add(path, f"{what} {field} is missing")
        else:
            faults.require(column.type is field.type, path, f"{field} was sent as {column.type.value}")
    for name in columns:
        if name not in wanted:
            faults.add(path, f"{name!r} is not asked for")


def _check_lengths(columns: Mapping[str, Column], rows: int, path: str, faults: Faults) -> None:
    for name, column in columns.items():
        faults.require(len(column) == rows, path, f"{name!r} has {len(column)} values for {rows} rows")
