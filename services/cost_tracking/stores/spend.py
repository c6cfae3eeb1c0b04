"""Sums over the books: whole hours from the hourly sums, the edges of a span from the entries themselves."""

from collections.abc import Sequence
from datetime import datetime

from libs.postgres import Database
from services.cost_tracking.domain.reconciliation import Tally
from services.cost_tracking.domain.spend import MOST_ROWS, Dimension, Question, Spend, cover
from services.cost_tracking.domain.usage import Hop, Outcome

# $1, $2: whole hours; $3: whether there are any; $4..$7: two edges
LINES = """
WITH line AS (
    SELECT hour AS time, tenant, model, version, experiment, variant, hop, outcome,
           usages, compute_us, nanodollars, unpriced
    FROM usage_hour
    WHERE $3::boolean AND ($1::timestamptz IS NULL OR hour >= $1) AND ($2::timestamptz IS NULL OR hour < $2)
    UNION ALL
    SELECT start_time, tenant, model, version, experiment, variant, hop, outcome,
           1, upstream_us, coalesce(charged.nanodollars, 0),
           (outcome IN ('billed', 'mirrored') AND charged.items = 0)::int
    FROM usage, LATERAL (
        SELECT count(*) AS items, sum(nanodollars)::bigint AS nanodollars FROM entry WHERE usage_id = usage.id
    ) AS charged
    WHERE (start_time >= $4::timestamptz AND start_time < $5::timestamptz)
       OR (start_time >= $6::timestamptz AND start_time < $7::timestamptz)
)
"""
EXPRESSIONS = {
    Dimension.TENANT: "tenant",
    Dimension.MODEL: "model",
    Dimension.VERSION: "version",
    Dimension.VARIANT: "CASE WHEN experiment = '' THEN '' ELSE experiment || '/' || variant END",
    Dimension.DAY: "to_char(time AT TIME ZONE 'UTC', 'YYYY-MM-DD') COLLATE \"C\"",
}
SUMS = (
    "coalesce(sum(usages), 0), coalesce(sum(compute_us), 0), coalesce(sum(nanodollars), 0), coalesce(sum(unpriced), 0)"
)

TALLIES = f"{LINES} SELECT hop, outcome, sum(usages) AS usages FROM line GROUP BY 1, 2 ORDER BY 1, 2"  # noqa: S608  as above


class PostgresSpend:
    """Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def spend(self, question: Question) -> Sequence[Spend]:
        """By group ascending; at most one row more than MOST_ROWS. Without a dimension exactly one row."""
        dimensions = [EXPRESSIONS[dimension] for dimension in question.group_by]
        query = (
            f"{LINES} SELECT {', '.join([*dimensions, SUMS])} FROM line"  # noqa: S608  as above
            " WHERE outcome IN ('billed', 'mirrored') AND ($8 = '' OR tenant = $8) AND ($9 = '' OR model = $9)"
        )
        if dimensions:
            positions = ", ".join(str(n) for n, _ in enumerate(dimensions, 1))
            query += f" GROUP BY {positions} ORDER BY {positions} LIMIT {MOST_ROWS + 1}"
        bounds = _bounds(question.since, question.until)
        async with self._database.connection() as connection:
            rows = await connection.fetch(query, *bounds, question.tenant, question.model)
        width = len(dimensions)
        return [Spend(tuple(row[:width]), *(int(value) for value in row[width:])) for row in rows]

    async def tallies(self, since: datetime | None) -> Sequence[Tally]:
        """How many records of each hop had each outcome, from `since` on."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(TALLIES, *_bounds(since, None))
        return [Tally(Hop(row["hop"]), Outcome(row["outcome"]), int(row["usages"])) for row in rows]


def _bounds(since: datetime | None, until: datetime | None) -> tuple[datetime | bool | None, ...]:
    parts = cover(since, until)
    first, last = parts.hours or (None, None)
    edges = [bound for edge in parts.edges for bound in edge]
    padding = [None] * (4 - len(edges))
    return (first, last, parts.hours is not None, *edges, *padding)
