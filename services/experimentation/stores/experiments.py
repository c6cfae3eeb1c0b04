"""Experiments and layers in Postgres."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

import asyncpg

from libs.errors import AlreadyExists
from libs.postgres import Connection, Database
from services.experimentation.domain.experiment import (
    Direction,
    Draft,
    Experiment,
    State,
    Variant,
    findable,
    no_experiment,
)

CHANGED = "experiments"
"""The channel on which replicas tell each other."""

READ = """
SELECT e.*, l.salt, v.names, v.versions, v.weights
FROM experiment e JOIN layer l USING (model), LATERAL (
    SELECT array_agg(name ORDER BY position) AS names, array_agg(version ORDER BY position) AS versions,
           array_agg(weight ORDER BY position) AS weights
    FROM variant WHERE experiment = e.name) v
"""


class PostgresExperiments:
    def __init__(self, database: Database) -> None:
        self._database = database

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        return self._database.transaction()

    async def create(self, experiment: Experiment) -> Experiment:
        draft = experiment.draft
        async with self._database.transaction() as connection:
            await connection.execute(
                "INSERT INTO layer (model, salt) VALUES ($1, $2) ON CONFLICT DO NOTHING", draft.model, experiment.salt
            )
            created = await connection.fetchval(
                "INSERT INTO experiment (name, model, coverage, first_bucket, minimum_lift, direction, description,"
                " state, revision, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
                " ON CONFLICT DO NOTHING RETURNING true",
                draft.name,
                draft.model,
                draft.coverage,
                draft.first_bucket,
                draft.minimum_lift,
                draft.direction.value,
                draft.description,
                experiment.state.value,
                experiment.revision,
                experiment.create_time,
            )
            if not created:
                message = f"there is an experiment {draft.name!r} already"
                raise AlreadyExists("EXPERIMENT_EXISTS", message, experiment=draft.name)
            await connection.executemany(
                "INSERT INTO variant (experiment, position, name, version, weight) VALUES ($1, $2, $3, $4, $5)",
                [(draft.name, n, v.name, v.version, v.weight) for n, v in enumerate(draft.variants)],
            )
            return await _read(connection, draft.name)

    async def get(self, name: str) -> Experiment:
        async with self._database.connection() as connection:
            return await _read(connection, name)

    async def hold(self, name: str) -> Experiment:
        async with self._database.connection() as connection:
            found = await _read(connection, name)
            await connection.execute("SELECT 1 FROM layer WHERE model = $1 FOR UPDATE", found.model)
            # read again: what was read before the lock may be what another holder has changed since
            return await _read(connection, name)

    async def save(self, experiment: Experiment) -> Experiment:
        saved = replace(experiment, revision=experiment.revision + 1)
        async with self._database.transaction() as connection:
            await connection.execute(
                "UPDATE experiment SET state = $2, winner = $3, start_time = $4, end_time = $5, revision = $6"
                " WHERE name = $1",
                saved.name,
                saved.state.value,
                saved.winner,
                saved.start_time,
                saved.end_time,
                saved.revision,
            )
            await self._database.notify(CHANGED)
        return saved

    async def page(self, model: str, after: str, count: int) -> Sequence[Experiment]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"{READ} WHERE ($1 = '' OR e.model = $1) AND e.name > $2 ORDER BY e.name LIMIT $3",
                model,
                after,
                count,
            )
        return [_experiment(row) for row in rows]

    async def running(self, model: str = "") -> Sequence[Experiment]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"{READ} WHERE e.state = 'RUNNING' AND ($1 = '' OR e.model = $1) ORDER BY e.name", model
            )
        return [_experiment(row) for row in rows]

    async def variants(self, names: Iterable[str]) -> Mapping[str, frozenset[str]]:
        wanted = [name for name in set(names) if findable(name)]
        if not wanted:
            return {}
        async with self._database.connection() as connection:
            rows = await connection.fetch("SELECT experiment, name FROM variant WHERE experiment = ANY($1)", wanted)
        found: defaultdict[str, set[str]] = defaultdict(set)
        for row in rows:
            found[row["experiment"]].add(row["name"])
        return {name: frozenset(variants) for name, variants in found.items()}


async def _read(connection: Connection, name: str) -> Experiment:
    row = await connection.fetchrow(f"{READ} WHERE e.name = $1", name) if findable(name) else None
    if row is None:
        raise no_experiment([name])
    return _experiment(row)


def _experiment(row: asyncpg.Record) -> Experiment:
    variants = zip(row["names"], row["versions"], row["weights"], strict=True)
    draft = Draft(
        name=row["name"],
        model=row["model"],
        variants=tuple(Variant(name, version, weight) for name, version, weight in variants),
        coverage=row["coverage"],
        first_bucket=row["first_bucket"],
        minimum_lift=row["minimum_lift"],
        direction=Direction(row["direction"]),
        description=row["description"],
    )
    return Experiment(
        draft=draft,
        salt=row["salt"],
        state=State(row["state"]),
        create_time=row["create_time"],
        start_time=row["start_time"],
        end_time=row["end_time"],
        winner=row["winner"],
        revision=row["revision"],
    )
