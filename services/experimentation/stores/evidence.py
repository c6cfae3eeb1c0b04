"""Exposures and outcomes in Postgres."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from libs.errors import AlreadyExists
from libs.postgres import Connection, Database
from services.experimentation.domain.evidence import Evidence, Tally
from services.experimentation.domain.experiment import findable, no_experiment
from services.experimentation.domain.exposure import Delivery, Exposure, Taken
from services.experimentation.domain.outcome import Outcome, Reported

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Rows are written in one order, so that deliveries of two proxies wait for each other instead of locking up.
EXPOSE = """
WITH new AS (
    INSERT INTO exposure (request_id, hop, experiment, unit, variant, time)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        AS line (request_id, hop, experiment, unit, variant, time)
    ORDER BY request_id, hop
    ON CONFLICT DO NOTHING
    RETURNING request_id, experiment, unit, variant, time),
unit AS (
    INSERT INTO exposed_unit AS known (experiment, unit, variant, first_time, first_request_id, exposures, mixed)
    SELECT experiment, unit, (array_agg(variant ORDER BY time, request_id))[1], min(time),
           (array_agg(request_id ORDER BY time, request_id))[1], count(*), min(variant) <> max(variant)
    FROM new GROUP BY experiment, unit ORDER BY experiment, unit
    ON CONFLICT (experiment, unit) DO UPDATE SET
        (variant, first_time, first_request_id) = (
            SELECT variant, first_time, first_request_id
            FROM (VALUES (known.variant, known.first_time, known.first_request_id),
                         (excluded.variant, excluded.first_time, excluded.first_request_id))
                AS either (variant, first_time, first_request_id)
            ORDER BY first_time, first_request_id LIMIT 1),
        exposures = known.exposures + excluded.exposures,
        mixed = known.mixed OR excluded.mixed OR known.variant <> excluded.variant)
SELECT count(*) FROM new
"""

ADVANCE = """
UPDATE delivery SET committed = $3, exposures = exposures + $4, unreadable = unreadable + $5, update_time = now()
WHERE proxy = $1 AND file = $2
"""


class PostgresEvidence:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, delivery: Delivery) -> Taken:
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO delivery (proxy, file) VALUES ($1, $2) ON CONFLICT DO NOTHING",
                delivery.proxy,
                delivery.file,
            )
            committed: int = await connection.fetchval(
                "SELECT committed FROM delivery WHERE proxy = $1 AND file = $2 FOR UPDATE",
                delivery.proxy,
                delivery.file,
            )
            if committed != delivery.start:
                return Taken(committed, lines=False)
            new = await _expose(connection, delivery.exposures)
            await connection.execute(ADVANCE, delivery.proxy, delivery.file, delivery.end, new, delivery.unreadable)
            return Taken(delivery.end, lines=True, exposures=new)

    async def report(self, outcomes: Sequence[Outcome]) -> Reported:
        async with self._database.transaction() as connection:
            await _require_experiments(connection, outcomes)
            ordered = sorted(outcomes, key=lambda o: (o.experiment, o.outcome_id))
            rows = await connection.fetch(
                "INSERT INTO outcome (experiment, outcome_id, unit, request_id, positive, event_time)"
                " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::timestamptz[])"
                " ON CONFLICT DO NOTHING RETURNING experiment, outcome_id",
                [o.experiment for o in ordered],
                [o.outcome_id for o in ordered],
                [o.unit for o in ordered],
                [o.request_id for o in ordered],
                [o.positive for o in ordered],
                [o.event_time for o in ordered],
            )
            await _require_same(connection, ordered)
            new = [(row["experiment"], row["outcome_id"]) for row in rows]
            waiting: int = await connection.fetchval(
                "SELECT count(*) FROM unnest($1::text[], $2::text[]) AS new (experiment, outcome_id)"
                " JOIN joined_outcome USING (experiment, outcome_id) WHERE variant IS NULL",
                [experiment for experiment, _ in new],
                [outcome for _, outcome in new],
            )
            return Reported(len(new), len(outcomes) - len(new), waiting)

    async def evidence(self, experiment: str) -> Evidence:
        async with self._database.connection() as connection:
            # outcomes first: a variant that has some then has units, too, whatever is taken in between
            outcomes = await connection.fetch(
                "SELECT variant, count(*) AS outcomes, count(*) FILTER (WHERE positive) AS positive"
                " FROM joined_outcome WHERE experiment = $1 GROUP BY variant",
                experiment,
            )
            units = await connection.fetch(
                "SELECT variant, count(*) AS units, sum(exposures)::bigint AS exposures,"
                " count(*) FILTER (WHERE mixed) AS mixed FROM exposed_unit WHERE experiment = $1 GROUP BY variant",
                experiment,
            )
        joined: dict[str | None, tuple[int, int]] = {
            row["variant"]: (row["outcomes"], row["positive"]) for row in outcomes
        }
        waiting, _ = joined.pop(None, (0, 0))
        tallies = {
            row["variant"]: Tally(row["units"], row["exposures"], *joined.get(row["variant"], (0, 0))) for row in units
        }
        return Evidence(tallies, waiting, sum(row["mixed"] for row in units))


async def _expose(connection: Connection, exposures: Sequence[Exposure]) -> int:
    if not exposures:
        return 0
    return await connection.fetchval(
        EXPOSE,
        [e.request_id for e in exposures],
        [e.hop for e in exposures],
        [e.experiment for e in exposures],
        [e.unit for e in exposures],
        [e.variant for e in exposures],
        [EPOCH + timedelta(microseconds=e.time_ns // 1000) for e in exposures],
    )


async def _require_experiments(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    names = {outcome.experiment for outcome in outcomes}
    rows = await connection.fetch("SELECT name FROM experiment WHERE name = ANY($1)", [*filter(findable, names)])
    missing = names - {row["name"] for row in rows}
    if missing:
        raise no_experiment(missing)


async def _require_same(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Raise REQUEST_ID_REUSED if a stored outcome, or another one of these, has an id of these and other content."""
    rows = await connection.fetch(
        "SELECT o.* FROM outcome o JOIN unnest($1::text[], $2::text[]) AS wanted (experiment, outcome_id)"
        " USING (experiment, outcome_id)",
        [o.experiment for o in outcomes],
        [o.outcome_id for o in outcomes],
    )
    stored = {
        (row["experiment"], row["outcome_id"]): Outcome(
            row["experiment"],
            row["outcome_id"],
            row["unit"],
            row["positive"],
            row["event_time"],
            row["request_id"],
        )
        for row in rows
    }
    for outcome in outcomes:
        if stored[outcome.experiment, outcome.outcome_id] != outcome:
            message = f"outcome {outcome.outcome_id!r} of {outcome.experiment!r} was reported before with other content"
            raise AlreadyExists("REQUEST_ID_REUSED", message, experiment=outcome.experiment, outcome=outcome.outcome_id)
