"""Aggregates over windows of raw events: the events of an instance in [q - w, q).

Sums are rounded once, from the exact sum: they do not depend on the order of the events, so what is computed online and
what history says are equal to the last bit.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from services.feature_store.domain.columns import Array, Bools, Column, Ints, Rows
from services.feature_store.domain.definitions import Aggregation, Function, StreamSource
from services.feature_store.domain.features import Feature, Status
from services.feature_store.domain.timeline import Timeline

_EXACT = 2.0**53


def over_windows(
    source: StreamSource,
    names: Sequence[str],
    events: Rows,
    instance_of: Ints,
    codes: Ints,
    as_of_us: Ints,
    complete_from_us: Ints,
) -> dict[str, Feature]:
    """Features of the instances `codes` at `as_of_us`, from the events of the instances `instance_of`.

    A window that begins before `complete_from_us` would miss events that are gone: NOT_FOUND. So is the code -1.
    """
    timeline = Timeline(instance_of, events.event_us)
    ordered = events.take(timeline.order)
    end = timeline.before(codes, as_of_us)
    found: dict[str, Feature] = {}
    for aggregation in source.aggregations:
        if aggregation.feature in names:
            since = as_of_us - aggregation.window_us
            known = (codes >= 0) & (since >= complete_from_us)
            first = timeline.before(codes, since)
            found[aggregation.feature] = aggregate(aggregation, ordered, first, end, known)
    return found


def aggregate(aggregation: Aggregation, events: Rows, first: Ints, end: Ints, known: Bools) -> Feature:
    """One value for each window of the events [first, end); `events` are in order of instance and time.

    Over no events COUNT and SUM are 0 and PRESENT, the others NULL; where `known` is false: NOT_FOUND.
    """
    first, end = np.where(known, first, 0), np.where(known, end, 0)
    count = end - first
    newest = np.where(count > 0, np.append(events.event_us, 0)[end - 1], 0)
    if aggregation.function is Function.COUNT:
        values, valid = count, known
    else:
        column = events.columns[aggregation.field]
        taken = _running(column.valid)
        filled = taken[end] - taken[first]
        # adding 0.0 makes -0.0 a 0.0, so that the smallest of both is one thing
        numbers = np.where(column.valid, column.values.astype(np.float64), 0.0) + 0.0
        values = _FUNCTIONS[aggregation.function](numbers, column.valid, first, end)
        values = np.where(filled > 0, values, 0.0)
        valid = known & ((filled > 0) | (aggregation.function is Function.SUM))
    statuses = np.where(valid, Status.PRESENT, np.where(known, Status.NULL, Status.NOT_FOUND))
    return Feature(Column(aggregation.type, values, valid).where(valid), statuses, newest)


def _sums(numbers: Array, _valid: Bools, first: Ints, end: Ints) -> Array:
    if (numbers == np.rint(numbers)).all() and np.abs(numbers).sum() < _EXACT:
        # whole numbers below 2^53: every partial sum is exact
        running = _running(numbers)
        return running[end] - running[first]
    listed = numbers.tolist()
    return np.array([math.fsum(listed[a:b]) for a, b in zip(first.tolist(), end.tolist(), strict=True)], np.float64)


def _means(numbers: Array, valid: Bools, first: Ints, end: Ints) -> Array:
    taken = _running(valid)
    return _sums(numbers, valid, first, end) / np.maximum(taken[end] - taken[first], 1)


def _smallest(numbers: Array, valid: Bools, first: Ints, end: Ints) -> Array:
    return _reduced(np.minimum, np.where(valid, numbers, np.inf), first, end)


def _greatest(numbers: Array, valid: Bools, first: Ints, end: Ints) -> Array:
    return _reduced(np.maximum, np.where(valid, numbers, -np.inf), first, end)


def _reduced(ufunc: np.ufunc, numbers: Array, first: Ints, end: Ints) -> Array:
    """`reduceat` over [first, end); what an empty window gets means nothing."""
    # in order of position, the gaps between windows, which reduceat computes too, sum to one pass over the events
    order = np.argsort(first, kind="stable")
    bounds = np.column_stack((first[order], end[order])).ravel()
    found = np.empty(len(first))
    found[order] = ufunc.reduceat(np.append(numbers, 0.0), bounds)[::2]
    return found


def _running(values: Array) -> Array:
    """Sums of the first 0, 1, … n values."""
    sums = np.zeros(len(values) + 1, np.float64 if values.dtype.kind == "f" else np.int64)
    np.cumsum(values, out=sums[1:])
    return sums


_FUNCTIONS: Mapping[Function, Callable[[Array, Bools, Ints, Ints], Array]] = {
    Function.SUM: _sums,
    Function.MEAN: _means,
    Function.MIN: _smallest,
    Function.MAX: _greatest,
}
