"""Which rows share a file: those of one day of happening and one day of writing, in order of instance and time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np

from services.feature_store.stores import arrow

_DAY_US = 86_400 * 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC).date()


@dataclass(frozen=True)
class Partition:
    event_date: date
    ingest_date: date
    first_event_us: int
    last_event_us: int
    content: arrow.Table


def partitions(tables: Sequence[arrow.Table], ingest_dates: Sequence[date]) -> list[Partition]:
    """Split tables of one view, each written on one day. Rows of one write and one moment stay in their order."""
    found: list[Partition] = []
    for ingest_date in sorted(set(ingest_dates)):
        written = [table for table, day in zip(tables, ingest_dates, strict=True) if day == ingest_date]
        found += _by_event_date(arrow.pa.concat_tables(written), ingest_date)
    return found


def _by_event_date(content: arrow.Table, ingest_date: date) -> list[Partition]:
    order = [*arrow.join_keys(content), arrow.EVENT_TIME, arrow.CREATED_TIME, arrow.SEQUENCE]
    days = arrow.integers(content, arrow.EVENT_TIME) // _DAY_US
    content = content.append_column("_day", arrow.numbers(days))
    # stable, says Arrow
    content = content.sort_by([(name, "ascending") for name in ("_day", *order)])
    day, starts = np.unique(arrow.integers(content, "_day"), return_index=True)
    ends = [*starts.tolist()[1:], len(content)]
    content = content.drop_columns("_day")
    found: list[Partition] = []
    for number, start, end in zip(day.tolist(), starts.tolist(), ends, strict=True):
        part = content.slice(start, end - start)
        times = arrow.integers(part, arrow.EVENT_TIME)
        event_date = _EPOCH + timedelta(days=number)
        found.append(Partition(event_date, ingest_date, int(times.min()), int(times.max()), part))
    return found
