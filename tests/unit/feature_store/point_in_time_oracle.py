"""The slow and obvious answer: every row of a request against every row and event there is."""

import math
from dataclasses import dataclass, field

PRESENT, NULL, NOT_FOUND, TOO_OLD = 1, 2, 3, 4


@dataclass(frozen=True)
class Written:
    """A row of a batch view, or an event."""

    key: tuple
    event_us: int
    values: dict = field(hash=False)
    created_us: int = 0


def newest(rows, feature, key, at_us, ttl_us):
    """(value, status, event time) of a batch view's feature; `rows` in the order of writing."""
    if None in key:
        return None, NOT_FOUND, 0
    best = None
    for row in rows:
        if row.key != key or row.event_us > at_us:
            continue
        if best is None or (row.event_us, row.created_us) >= (best.event_us, best.created_us):
            best = row
    if best is None:
        return None, NOT_FOUND, 0
    if ttl_us and at_us - best.event_us > ttl_us:
        return None, TOO_OLD, best.event_us
    value = best.values[feature]
    return value, NULL if value is None else PRESENT, best.event_us


def windowed(events, function, name, window_us, key, at_us):
    """(value, status, event time) of a stream view's feature."""
    if None in key:
        return None, NOT_FOUND, 0
    inside = [e for e in events if e.key == key and at_us - window_us <= e.event_us < at_us]
    latest = max((e.event_us for e in inside), default=0)
    if function == "COUNT":
        return len(inside), PRESENT, latest
    numbers = [float(e.values[name]) for e in inside if e.values[name] is not None]
    if function == "SUM":
        return math.fsum(numbers), PRESENT, latest
    if not numbers:
        return None, NULL, latest
    done = {"MEAN": lambda n: math.fsum(n) / len(n), "MIN": min, "MAX": max}[function]
    return done(numbers), PRESENT, latest
