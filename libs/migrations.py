"""Plain SQL migrations: `0001_what.sql`, applied in order, once, under an advisory lock; a changed one is refused."""

import hashlib
from pathlib import Path
from typing import Any, Protocol


class MigrationError(Exception):
    """An applied migration is not what it was, or is gone."""


class Connection(Protocol):
    async def execute(self, query: str, *args: Any) -> str: ...
    async def fetch(self, query: str, *args: Any) -> list[Any]: ...
    def transaction(self) -> Any: ...


# `mutation` remembers answers for libs.idempotency, hence belongs to every schema
OWN_TABLES = """
CREATE TABLE IF NOT EXISTS migration (
    name text PRIMARY KEY, checksum text NOT NULL, time timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS mutation (
    tenant text NOT NULL, request_id text NOT NULL, method text NOT NULL, digest bytea NOT NULL, answer bytea,
    create_time timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (tenant, request_id));
"""


async def migrate(connection: Connection, schema: str, folder: Path) -> list[str]:
    """Bring the schema up to date in one transaction; returns the names that were applied now."""
    files = {path.name: path.read_text() for path in sorted(folder.glob("*.sql"))}  # noqa: ASYNC240  a few files, once, at start
    checksums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"penstock:{schema}")
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await connection.execute(OWN_TABLES)
        applied = {
            row["name"]: row["checksum"] for row in await connection.fetch("SELECT name, checksum FROM migration")
        }
        for name, checksum in applied.items():
            if checksums.get(name) != checksum:
                raise MigrationError(f"{schema}: {name} was applied with other content; write a new migration instead")
        new = [name for name in files if name not in applied]
        for name in new:
            await connection.execute(files[name])
            await connection.execute("INSERT INTO migration (name, checksum) VALUES ($1, $2)", name, checksums[name])
    return new
