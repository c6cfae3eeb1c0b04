"""Turns batches of history into Parquet files, small files into larger ones, and clears away what nobody reads.

One process at a time, whichever gets the lock. A file counts from the moment that Postgres lists it, and with the same
commit the batches, or the files, that it replaces count no more. A crash before that leaves a file that nobody reads.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg

from libs.errors import PenstockError
from libs.postgres import Connection, Database
from services.feature_store.stores import arrow, parquet
from services.feature_store.stores.partitions import Partition, partitions

log = logging.getLogger(__name__)

PASS_SECONDS = 2.0
# a batch costs every reader some tens of microseconds, a file some hundreds
MOST_BATCHES = 500
MOST_ROWS = 50_000
OLDEST = timedelta(seconds=60)
ROWS_AT_ONCE = 500_000
MOST_FILES = 8
SMALL_ROWS = 64 * 1024
READERS_LEAVE = timedelta(minutes=10)

_DUE = """
SELECT v.id, v.tenant, v.name FROM history_batch b JOIN feature_view v ON v.id = b.view_id
GROUP BY v.id, v.tenant, v.name HAVING count(*) >= $1 OR sum(b.rows) >= $2 OR min(b.ingest_time) <= $3
"""
_BATCHES = """
SELECT id, content, ingest_date FROM (
    SELECT id, content, (ingest_time AT TIME ZONE 'UTC')::date AS ingest_date,
        sum(rows) OVER (ORDER BY id) - rows AS before
    FROM history_batch WHERE view_id = $1) b
WHERE before < $2 ORDER BY id
"""
_SCATTERED = """
SELECT v.id, v.tenant, v.name, f.ingest_date, array_agg(f.path) AS paths
FROM history_file f JOIN feature_view v ON v.id = f.view_id WHERE f.drop_time IS NULL AND f.rows < $1
GROUP BY v.id, v.tenant, v.name, f.event_date, f.ingest_date HAVING count(*) > $2
"""
_LIST = """
INSERT INTO history_file (view_id, path, event_date, ingest_date, rows, first_event_us, last_event_us)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


class Compactor:
    """Reads and writes the tables of stores.history."""

    def __init__(self, database: Database, root: Path, now: Callable[[], datetime]) -> None:
        self._database = database
        self._root = root
        self._now = now

    async def keep_compacting(self) -> None:
        """For ever."""
        await self._database.connected()
        fault = ""
        while True:
            try:
                await self.compact(OLDEST)
                await self.sweep()
                fault = ""
            except (PenstockError, asyncpg.PostgresError, arrow.ArrowError, TimeoutError) as error:
                if str(error) != fault:
                    log.warning("history is not compacted: %s", error)
                fault = str(error)
            await asyncio.sleep(PASS_SECONDS)

    async def compact(self, oldest: timedelta) -> int:
        """Write what is due: many batches, many rows, or any batch older than `oldest`. Returns the files written."""
        async with self._locked() as connection:
            if connection is None:
                return 0
            written = 0
            for view in await connection.fetch(_DUE, MOST_BATCHES, MOST_ROWS, self._now() - oldest):
                batches = await connection.fetch(_BATCHES, view["id"], ROWS_AT_ONCE)
                days = [batch["ingest_date"] for batch in batches]
                tables = [arrow.unpacked(batch["content"], batch["id"]) for batch in batches]
                written += await self._write(connection, view, await asyncio.to_thread(partitions, tables, days))
                ids = [batch["id"] for batch in batches]
                await connection.execute("DELETE FROM history_batch WHERE id = ANY($1)", ids)
            for view in await connection.fetch(_SCATTERED, SMALL_ROWS, MOST_FILES):
                tables = await asyncio.to_thread(parquet.read, self._root, view["paths"])
                days = [view["ingest_date"]] * len(tables)
                written += await self._write(connection, view, await asyncio.to_thread(partitions, tables, days))
                drop = "UPDATE history_file SET drop_time = $2 WHERE path = ANY($1)"
                await connection.execute(drop, view["paths"], self._now())
            return written

    async def sweep(self) -> None:
        """Delete files whose rows have been in another for so long that no reader is at them.

        Only files that Postgres has listed: one that it does not know may belong to the database that it ought to be.
        """
        async with self._locked() as connection:
            if connection is None:
                return
            gone = await connection.fetch(
                "DELETE FROM history_file WHERE drop_time < $1 RETURNING path", self._now() - READERS_LEAVE
            )
        await asyncio.to_thread(parquet.delete, self._root, [row["path"] for row in gone])

    async def _write(self, connection: Connection, view: asyncpg.Record, parts: Sequence[Partition]) -> int:
        for part in parts:
            folder = parquet.folder(view["tenant"], view["name"], str(part.event_date), str(part.ingest_date))
            path = await asyncio.to_thread(parquet.write, self._root, folder, part.content)
            times = (part.first_event_us, part.last_event_us)
            await connection.execute(
                _LIST, view["id"], path, part.event_date, part.ingest_date, len(part.content), *times
            )
        return len(parts)

    @asynccontextmanager
    async def _locked(self) -> AsyncGenerator[Connection | None]:
        """A transaction that is the only one to compact; None when another process has the lock."""
        async with self._database.transaction() as connection:
            mine = await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('feature_store.compaction'))")
            yield connection if mine else None
