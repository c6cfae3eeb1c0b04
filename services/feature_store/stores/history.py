"""Everything that was ever written: fresh batches in Postgres, older ones in Parquet files that Postgres lists.

A write is one row of `history_batch`, whatever its size, so it is durable and visible with its commit;
stores.compaction turns batches into files.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from libs.postgres import Database
from services.feature_store.domain.columns import LATEST_US, Field, Ints, Rows, ValueType, no_rows
from services.feature_store.domain.definitions import StreamSource
from services.feature_store.domain.history import Seen
from services.feature_store.domain.plan import StoredView
from services.feature_store.stores import arrow, parquet

# one statement, hence one snapshot: a row is in a batch or in a file, never in both, never in none
_PARTS = """
SELECT path, NULL AS id, NULL AS content FROM history_file
WHERE view_id = $1 AND drop_time IS NULL AND last_event_us >= $2 AND first_event_us <= $3
UNION ALL SELECT NULL, id, content FROM history_batch WHERE view_id = $1
"""
_CLAIM = """
INSERT INTO event_seen (view_id, event_id, digest) SELECT $1, * FROM unnest($2::text[], $3::bytea[])
ON CONFLICT DO NOTHING RETURNING event_id
"""


@dataclass(frozen=True)
class History:
    database: Database
    root: Path

    async def append_rows(self, stored: StoredView, rows: Rows) -> None:
        await self._append(stored.view.view_id, arrow.table(rows, stored.entity.join_keys))

    async def append_events(self, stored: StoredView, rows: Rows, ids: Sequence[str], digests: Sequence[bytes]) -> Ints:
        view_id = stored.view.view_id
        first = {event_id: i for i, event_id in reversed(list(enumerate(ids)))}
        # in one order, so that two pushes of the same ids wait for each other and do not deadlock
        claims = sorted(first)
        async with self.database.transaction() as connection:
            new = await connection.fetch(_CLAIM, view_id, claims, [digests[first[event_id]] for event_id in claims])
            new_ids: set[str] = {row["event_id"] for row in new}
            repeats = [event_id for i, event_id in enumerate(ids) if event_id not in new_ids or first[event_id] != i]
            known = await connection.fetch(
                "SELECT event_id, digest FROM event_seen WHERE view_id = $1 AND event_id = ANY($2)", view_id, repeats
            )
            said = {row["event_id"]: row["digest"] for row in known}
            seen = np.full(len(ids), Seen.NEW, np.int64)
            for i, event_id in enumerate(ids):
                if event_id not in new_ids or first[event_id] != i:
                    seen[i] = Seen.REPEATED if said[event_id] == digests[i] else Seen.CONFLICTING
            fresh = np.flatnonzero(seen == Seen.NEW)
            if len(fresh):
                fresh_ids = [ids[i] for i in fresh.tolist()]
                await self._append(view_id, arrow.table(rows.take(fresh), stored.entity.join_keys, fresh_ids))
        return seen

    async def read(self, stored: StoredView, names: Sequence[str], since_us: int | None, until_us: int) -> Rows:
        wanted = {*names, *(key.name for key in stored.entity.join_keys)}
        fields = [field for field in (*stored.entity.join_keys, *stored.view.stored) if field.name in wanted]
        since_us = -LATEST_US if since_us is None else since_us
        content = await self._content(stored.view.view_id, [f.name for f in fields], since_us, until_us)
        return await asyncio.to_thread(_ordered, content, fields, since_us, until_us)

    async def everything(self, stored: StoredView) -> tuple[Rows, Sequence[str]]:
        fields = [*stored.entity.join_keys, *stored.view.stored]
        names = [field.name for field in fields]
        if isinstance(stored.view.source, StreamSource):
            fields.append(Field(arrow.EVENT_ID, ValueType.STRING))
        content = await self._content(stored.view.view_id, [f.name for f in fields], -LATEST_US, LATEST_US)
        rows = await asyncio.to_thread(_ordered, content, fields, -LATEST_US, LATEST_US)
        ids = rows.columns.get(arrow.EVENT_ID)
        own = Rows(rows.event_us, rows.created_us, {name: rows.columns[name] for name in names})
        return own, ids.values.tolist() if ids else []

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[bool]:
        async with self.database.transaction() as connection:
            yield await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('feature_store.restoration'))")

    async def _append(self, view_id: int, content: arrow.Table) -> None:
        async with self.database.connection() as connection:
            await connection.execute(
                "INSERT INTO history_batch (view_id, rows, content) VALUES ($1, $2, $3)",
                view_id,
                len(content),
                arrow.packed(content),
            )

    async def _content(self, view_id: int, names: Sequence[str], since_us: int, until_us: int) -> list[arrow.Table]:
        """All batches, and the files that may have rows of the span."""
        async with self.database.connection() as connection:
            parts = await connection.fetch(_PARTS, view_id, since_us, until_us)
        columns = [arrow.EVENT_TIME, arrow.CREATED_TIME, arrow.SEQUENCE, *names]
        paths = [part["path"] for part in parts if part["path"]]
        files = await asyncio.to_thread(parquet.read, self.root, paths, columns)
        batches = (arrow.unpacked(part["content"], part["id"]) for part in parts if part["content"])
        return [*files, *(batch.select(columns) for batch in batches)]


def _ordered(content: Sequence[arrow.Table], fields: Sequence[Field], since_us: int, until_us: int) -> Rows:
    """The rows of the span, in the order of writing."""
    if not content:
        return no_rows(fields)
    table = arrow.pa.concat_tables(content)
    times = arrow.integers(table, arrow.EVENT_TIME)
    order = np.argsort(arrow.integers(table, arrow.SEQUENCE), kind="stable")
    order = order[(times[order] >= since_us) & (times[order] <= until_us)]
    return arrow.rows(table, fields).take(order)
