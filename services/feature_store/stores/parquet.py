"""Files of history: each written whole, on the disk before anybody hears of it, and never changed.

tenant=local/view=airport_weather/event_date=2013-03-04/ingest_date=2026-11-21/<name>.parquet
"""

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pyarrow.parquet

from libs.errors import Unavailable
from services.feature_store.stores.arrow import ArrowError, Table

pq: Any = pyarrow.parquet

ROWS_A_GROUP = 128 * 1024


def write(root: Path, folder: str, content: Table) -> str:
    """Write a file below `root`; returns its path there. Unavailable when it cannot be."""
    where = root / folder
    path = where / f"{uuid4().hex}.parquet"
    draft = path.with_suffix(".draft")
    with _errors():
        new = [parent for parent in (where, *where.parents) if not parent.exists()]
        where.mkdir(parents=True, exist_ok=True)
        pq.write_table(content, draft, compression="zstd", row_group_size=ROWS_A_GROUP)
        _to_disk(draft)
        draft.replace(path)
        for changed in {where, *(parent.parent for parent in new)}:
            _to_disk(changed)
    return str(path.relative_to(root))


def read(root: Path, paths: Sequence[str], columns: Sequence[str] | None = None) -> list[Table]:
    """The named columns of each file; all when none are named."""
    with _errors():
        # one file, not a data set: the folders' names are no columns
        return [pq.ParquetFile(root / path).read(columns=columns and list(columns)) for path in paths]


def delete(root: Path, paths: Sequence[str]) -> None:
    with _errors():
        for path in paths:
            (root / path).unlink(missing_ok=True)


def folder(tenant: str, view: str, event_date: str, ingest_date: str) -> str:
    """Of a partition. A tenant's name may be anything: it is quoted, and `..` behind `tenant=` leads nowhere."""
    return f"tenant={quote(tenant, safe='')}/view={view}/event_date={event_date}/ingest_date={ingest_date}"


@contextmanager
def _errors() -> Generator[None]:
    try:
        yield
    except (OSError, ArrowError) as error:
        raise Unavailable("STORE_UNAVAILABLE", f"history's files cannot be used: {error}", store="history") from error


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
