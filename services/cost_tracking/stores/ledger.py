"""Usage, ledger and hourly sums in Postgres. Statements work on thousands of rows: no row costs a round trip."""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

from libs.postgres import Connection, Database
from services.cost_tracking.domain.charge import Charge
from services.cost_tracking.domain.intake import Key, SetAside
from services.cost_tracking.domain.spend import hour_of
from services.cost_tracking.domain.usage import Hop, Usage

Row = TypeVar("Row")
ROWS_PER_STATEMENT = 10_000
USAGE = {
    "request_id": "text",
    "hop": "text",
    "start_time": "timestamptz",
    "tenant": "text",
    "principal": "text",
    "model": "text",
    "version": "text",
    "experiment": "text",
    "variant": "text",
    "degraded": "text",
    "grpc_status": "integer",
    "http_status": "integer",
    "attempts": "integer",
    "reached_server": "boolean",
    "server": "text",
    "upstream_us": "bigint",
    "bytes_in": "bigint",
    "bytes_out": "bigint",
}
usage_values = attrgetter(*USAGE)
ENTRY = {"usage_id": "bigint", "meter": "text", "price_id": "uuid", "quantity": "bigint", "nanodollars": "bigint"}
GROUP = {
    "hour": "timestamptz",
    "tenant": "text",
    "model": "text",
    "version": "text",
    "experiment": "text",
    "variant": "text",
    "hop": "text",
    "outcome": "text",
}
SUMS = {"usages": "bigint", "compute_us": "bigint", "nanodollars": "bigint", "unpriced": "bigint"}
Group = tuple[datetime, str, str, str, str, str, str, str]


def insert(table: str, columns: Mapping[str, str]) -> str:
    """An INSERT that takes one array for each column."""
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(columns.values(), 1))
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT * FROM unnest({arrays})"  # noqa: S608  constants below


INSERT_USAGE = insert("usage", USAGE | {"outcome": "text"}) + " ON CONFLICT DO NOTHING RETURNING id, request_id, hop"
INSERT_ENTRY = insert("entry", ENTRY)
ADD_SUMS = (
    insert("usage_hour AS already", GROUP | SUMS)
    + f" ON CONFLICT ({', '.join(GROUP)}) DO UPDATE SET "
    + ", ".join(f"{column} = already.{column} + excluded.{column}" for column in SUMS)
)
SELECT_USAGES = (
    f"SELECT {', '.join('usage.' + column for column in USAGE)}"  # noqa: S608  as above
    " FROM unnest($1::text[], $2::text[]) AS wanted(request_id, hop) JOIN usage USING (request_id, hop)"
)
SET_ASIDE = insert(
    "set_aside", {"digest": "bytea", "reason": "text", "content": "text", "proxy": "text", "file": "text"}
)
# A gap (start beyond what is committed) leaves the offset where it is: the proxy is asked to go back there
ADVANCE = """
INSERT INTO log_file AS already (proxy, file, committed_offset) VALUES ($1, $2, $4)
ON CONFLICT (proxy, file) DO UPDATE SET update_time = now(), committed_offset =
    CASE WHEN $3 <= already.committed_offset THEN greatest(already.committed_offset, $4)
         ELSE already.committed_offset END
RETURNING committed_offset
"""


class PostgresLedger:
    """The tables `usage`, `entry`, `usage_hour`, `set_aside` and `log_file`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[object]:
        return self._database.transaction()

    async def post(self, charges: Sequence[Charge]) -> Collection[Key]:
        """Book charges, sorted by key, no key twice; returns the keys that were not booked before."""
        booked: list[Charge] = []
        async with self._database.transaction() as connection:
            for part in _parts(charges):
                booked += await _post(connection, part)
            sums = _sums(booked)
            # in one order for everybody, and last: two deliveries wait for each other here, shortly, and never deadlock
            rows = [(*group, *sums[group]) for group in sorted(sums)]
            await connection.execute(ADD_SUMS, *_columns(rows, len(GROUP | SUMS)))
        return [charge.usage.key for charge in booked]

    async def usages(self, keys: Sequence[Key]) -> Mapping[Key, Usage]:
        """Those of the keys that are booked."""
        found: dict[Key, Usage] = {}
        async with self._database.connection() as connection:
            for part in _parts(keys):
                for row in await connection.fetch(SELECT_USAGES, *_columns(part, 2)):
                    values: dict[str, Any] = {**row, "hop": Hop(row["hop"])}
                    usage = Usage(**values)
                    found[usage.key] = usage
        return found

    async def set_aside(self, items: Iterable[SetAside], proxy: str, file: str) -> Sequence[SetAside]:
        """Keep them; returns those that were not kept before."""
        by_digest = {hashlib.sha256(f"{item.reason}\n{item.content}".encode()).digest(): item for item in items}
        rows = [(digest, item.reason, item.content, proxy, file) for digest, item in sorted(by_digest.items())]
        if not rows:
            return []
        async with self._database.connection() as connection:
            kept = await connection.fetch(SET_ASIDE + " ON CONFLICT DO NOTHING RETURNING digest", *_columns(rows, 5))
        return [by_digest[row["digest"]] for row in kept]

    async def advance(self, proxy: str, file: str, start: int, end: int) -> int:
        """Note that [start, end) is booked; returns the end of what is booked without a gap."""
        async with self._database.connection() as connection:
            return await connection.fetchval(ADVANCE, proxy, file, start, end)


async def _post(connection: Connection, charges: Sequence[Charge]) -> list[Charge]:
    rows = [(*usage_values(charge.usage), charge.outcome) for charge in charges]
    fresh = await connection.fetch(INSERT_USAGE, *_columns(rows, len(USAGE) + 1))
    ids = {(row["request_id"], row["hop"]): row["id"] for row in fresh}
    booked = [charge for charge in charges if charge.usage.key in ids]
    entries = [
        (ids[charge.usage.key], item.meter, item.price_id, item.quantity, item.nanodollars)
        for charge in booked
        for item in charge.items
    ]
    await connection.execute(INSERT_ENTRY, *_columns(entries, len(ENTRY)))
    return booked


def _sums(charges: Iterable[Charge]) -> dict[Group, list[int]]:
    sums: dict[Group, list[int]] = {}
    for charge in charges:
        u = charge.usage
        group = (hour_of(u.start_time), u.tenant, u.model, u.version, u.experiment, u.variant, u.hop, charge.outcome)
        total = sums.setdefault(group, [0] * len(SUMS))
        for index, value in enumerate((1, u.upstream_us, charge.nanodollars, int(charge.unpriced))):
            total[index] += value
    return sums


def _columns(rows: Sequence[Sequence[object]], width: int) -> Sequence[Sequence[object]]:
    return list(zip(*rows, strict=True)) or [()] * width


def _parts(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    return (rows[start : start + ROWS_PER_STATEMENT] for start in range(0, len(rows), ROWS_PER_STATEMENT))
