"""What is remembered, in Postgres."""

from collections.abc import Sequence
from datetime import UTC, datetime

import asyncpg

from libs.errors import Invalid, Violation
from libs.paging import Page
from libs.postgres import Database
from services.health_monitoring.domain.belief import State
from services.health_monitoring.domain.health import Remembered, Transition
from services.health_monitoring.domain.target import Kind, Target


class PostgresStore:
    """Raises Unavailable while Postgres cannot be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, transitions: Sequence[Transition], remembered: Sequence[Remembered], gone: Sequence[str]
    ) -> None:
        async with self._database.transaction() as connection:
            await connection.executemany(
                "INSERT INTO transition (target, time, before, after, reason) VALUES ($1, $2, $3, $4, $5)"
                " ON CONFLICT DO NOTHING",
                [(t.target, t.time, t.before, t.after, t.reason) for t in transitions],
            )
            await connection.executemany(
                "INSERT INTO target (identity, kind, name, address, model, version, state, reason, since, settled,"
                " weight, weight_reason) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)"
                " ON CONFLICT (identity) DO UPDATE SET address = $4, state = $7, reason = $8, since = $9,"
                " settled = $10, weight = $11, weight_reason = $12",
                [_row(each) for each in remembered],
            )
            await connection.execute("DELETE FROM target WHERE identity = ANY($1::text[])", list(gone))

    async def remembered(self) -> list[Remembered]:
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT * FROM target ORDER BY identity")
        return [
            Remembered(
                Target(Kind(row["kind"]), row["name"], row["address"], row["model"], row["version"]),
                State(row["state"]),
                row["reason"],
                row["since"],
                row["settled"],
                row["weight"],
                row["weight_reason"],
            )
            for row in rows
        ]

    async def recent(self, of_each: int) -> list[Transition]:
        """The newest of each remembered target, oldest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT newest.* FROM target CROSS JOIN LATERAL (SELECT * FROM transition"
                " WHERE transition.target = identity ORDER BY time DESC LIMIT $1) newest ORDER BY time, target",
                of_each,
            )
        return [_transition(row) for row in rows]

    async def transitions(self, target: str, since: datetime | None, page: Page) -> tuple[Sequence[Transition], str]:
        """Newest first. An empty target means all; the second value is the token of the next page.

        Raises Invalid, INVALID_PAGE_TOKEN, for a key that no page of these ended with.
        """
        conditions: list[str] = []
        values: list[object] = []
        if target:
            values.append(target)
            conditions.append(f"target = ${len(values)}")
        if since is not None:
            values.append(since)
            conditions.append(f"time >= ${len(values)}")
        if page.after:
            values += [_time(page.after[0]), page.after[1]]
            conditions.append(f"(time, target) < (${len(values) - 1}, ${len(values)})")
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT * FROM transition {where} ORDER BY time DESC, target DESC LIMIT {page.lookahead}",  # noqa: S608  numbers and placeholders only
                *values,
            )
        return page.split([_transition(row) for row in rows], lambda t: (t.time.isoformat(), t.target))

    async def tidy(self, before: datetime, most: int) -> int:
        """Delete transitions older than this, and all but the newest `most`; how many were deleted."""
        async with self._database.connection() as connection:
            deleted = await connection.execute(
                "DELETE FROM transition WHERE time < $1 OR (target, time) IN"
                " (SELECT target, time FROM transition ORDER BY time DESC, target DESC OFFSET $2)",
                before,
                most,
            )
        return int(deleted.rpartition(" ")[2])


def _time(key: str) -> datetime:
    try:
        return datetime.fromisoformat(key).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        violation = Violation("page_token", "not a token that this list returned")
        raise Invalid([violation], reason="INVALID_PAGE_TOKEN") from error


def _row(each: Remembered) -> tuple[object, ...]:
    target = each.target
    return (
        target.identity,
        target.kind,
        target.name,
        target.address,
        target.model,
        target.version,
        each.state,
        each.reason,
        each.since,
        each.settled,
        each.weight,
        each.weight_reason,
    )


def _transition(row: asyncpg.Record) -> Transition:
    return Transition(row["target"], State(row["before"]), State(row["after"]), row["reason"], row["time"])
