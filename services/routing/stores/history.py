"""The history of snapshots in Postgres: intervals of numbers in which a part had a content, and contents kept once."""

import asyncio
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby
from typing import Any

from libs.errors import NotFound
from libs.postgres import Connection, Database
from services.routing.domain.history import KEPT, Count, Entry, Head, Write, is_number, same
from services.routing.domain.parts import Delta, Key, Manifest

BATCH = 2000
"""Rows of one statement: ten thousand routes at once would take longer than a statement may."""

IN_SNAPSHOT = "first <= $1 AND (until IS NULL OR until > $1)"
INSERT = """
INSERT INTO snapshot (number, revision, publish_time, authors, reasons, counts, unrecorded)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
END = """
UPDATE snapshot_part p SET until = $1 FROM unnest($2::text[], $3::text[]) AS gone (type, name)
WHERE p.type = gone.type AND p.name = gone.name AND p.until IS NULL
"""
BEGIN = """
INSERT INTO snapshot_part (type, name, hash, first)
SELECT type, name, hash, $1 FROM unnest($2::text[], $3::text[], $4::text[]) AS new (type, name, hash)
"""
BODIES = """
INSERT INTO snapshot_body (hash, body) SELECT hash, body FROM unnest($1::text[], $2::bytea[]) AS new (hash, body)
ON CONFLICT DO NOTHING
"""
FORGET_PARTS = "DELETE FROM snapshot_part WHERE until <= $1 RETURNING hash"
FORGET_BODIES = """
DELETE FROM snapshot_body b WHERE b.hash = ANY($1::text[])
    AND NOT EXISTS (SELECT FROM snapshot_part p WHERE p.hash = b.hash)
"""
NOTE = "INSERT INTO route_write (model, content, principal, write_time, why) VALUES ($1, $2, $3, $4, $5)"


class PostgresHistory:
    """Snapshots are numbered without gaps, whichever replica records them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self) -> Head:
        async with self._database.transaction() as connection:
            number = await _newest(connection)
            return Head(number, await _manifest(connection, number))

    async def append(
        self, base: int, entry: Entry, change: Delta, bodies: Mapping[str, bytes], writes: Sequence[Write] = ()
    ) -> Entry | None:
        number = base + 1
        async with self._database.transaction() as connection:
            await connection.execute("LOCK TABLE snapshot IN SHARE ROW EXCLUSIVE MODE")
            if await _newest(connection) != base:
                return None
            await connection.execute(INSERT, *_values(number, entry))
            for keys in _batches(sorted(change.keys)):
                await connection.execute(END, number, *_columns(keys, 2))
            for rows in _batches([(*key, content) for key, content in sorted(change.put.items())]):
                await connection.execute(BEGIN, number, *_columns(rows, 3))
            for contents in _batches(sorted(bodies.items())):
                packed = await asyncio.to_thread(_packed, contents)
                await connection.execute(BODIES, *_columns(packed, 2))
            told = [write.id for write in writes]
            await connection.execute("UPDATE route_write SET snapshot = $1 WHERE id = ANY($2::bigint[])", number, told)
            await _forget(connection, number - KEPT)
        return replace(entry, number=number)

    async def list(self, before: int, most: int) -> Sequence[Entry]:
        query = "SELECT * FROM snapshot WHERE $1 = 0 OR number < $1 ORDER BY number DESC LIMIT $2"
        async with self._database.connection() as connection:
            return [_entry(row) for row in await connection.fetch(query, before, most)]

    async def find(self, named: str) -> Entry:
        column = "number::text" if is_number(named) else "revision"
        query = f"SELECT * FROM snapshot WHERE {column} = $1 ORDER BY number DESC LIMIT 1"  # noqa: S608  one of two names
        async with self._database.connection() as connection:
            row = await connection.fetchrow(query, named)
        if row is None:
            message = f"the history, which keeps the last {KEPT}, has no snapshot {named}"
            raise NotFound("SNAPSHOT_NOT_FOUND", message, snapshot=named)
        return _entry(row)

    async def manifest(self, number: int) -> Manifest:
        async with self._database.connection() as connection:
            return await _manifest(connection, number)

    async def contents(self, number: int, types: Iterable[str]) -> Mapping[Key, bytes]:
        query = f"""
            SELECT type, name, body FROM snapshot_part JOIN snapshot_body USING (hash)
            WHERE {IN_SNAPSHOT} AND type = ANY($2::text[])
        """  # noqa: S608  a constant
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, number, list(types))
        return await asyncio.to_thread(lambda: {(r["type"], r["name"]): zlib.decompress(r["body"]) for r in rows})

    async def bodies(self, hashes: Iterable[str]) -> Mapping[str, bytes]:
        query = "SELECT hash, body FROM snapshot_body WHERE hash = ANY($1::text[])"
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, list(hashes))
        return await asyncio.to_thread(lambda: {row["hash"]: zlib.decompress(row["body"]) for row in rows})

    async def note(self, writes: Sequence[Write]) -> None:
        async with self._database.connection() as connection:
            await connection.executemany(NOTE, [(w.model, w.content, w.principal, w.time, w.why) for w in writes])

    async def writes(self, routes: Mapping[str, str]) -> Sequence[Write]:
        query = "SELECT * FROM route_write WHERE snapshot IS NULL AND model = ANY($1::text[]) ORDER BY model, id"
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, list(routes))
        by_model = groupby((_write(row) for row in rows), key=lambda write: write.model)
        found = [write for model, told in by_model for write in same(list(told), routes[model])]
        return sorted(found, key=lambda write: write.id)


async def _newest(connection: Connection) -> int:
    return await connection.fetchval("SELECT coalesce(max(number), 0) FROM snapshot")


async def _manifest(connection: Connection, number: int) -> Manifest:
    query = f"SELECT type, name, hash FROM snapshot_part WHERE {IN_SNAPSHOT}"  # noqa: S608  a constant
    return {(row["type"], row["name"]): row["hash"] for row in await connection.fetch(query, number)}


async def _forget(connection: Connection, newest_forgotten: int) -> None:
    """What was in no later snapshot goes with it."""
    await connection.execute("DELETE FROM snapshot WHERE number <= $1", newest_forgotten)
    gone = {row["hash"] for row in await connection.fetch(FORGET_PARTS, newest_forgotten + 1)}
    if gone:
        await connection.execute(FORGET_BODIES, list(gone))


def _batches(rows: Sequence[Any]) -> Iterable[Sequence[Any]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


def _columns(rows: Sequence[Sequence[Any]], count: int) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(count)]


def _packed(contents: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(content_hash, zlib.compress(body, 1)) for content_hash, body in contents]


def _values(number: int, entry: Entry) -> tuple[Any, ...]:
    counts = json.dumps([asdict(count) for count in entry.counts])
    return number, entry.revision, entry.time, [*entry.authors], [*entry.reasons], counts, entry.unrecorded


def _entry(row: Any) -> Entry:
    counts = tuple(Count(**count) for count in json.loads(row["counts"]))
    authors, reasons = tuple(row["authors"]), tuple(row["reasons"])
    return Entry(row["number"], row["revision"], row["publish_time"], authors, reasons, counts, row["unrecorded"])


def _write(row: Any) -> Write:
    return Write(row["model"], row["content"], row["principal"], row["write_time"], row["why"], row["id"])
