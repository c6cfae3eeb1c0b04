"""Models and versions in Postgres."""

from collections.abc import Sequence

from libs.errors import AlreadyExists, Conflict, NotFound
from libs.paging import Page
from libs.postgres import Database
from services.model_serving.domain.model import Model, ModelVersion, Stage
from services.model_serving.stores import rows


class RegistryStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def registry_id(self) -> str:
        """Names this registry for as long as its schema lives."""
        async with self._database.connection() as connection:
            return str(await connection.fetchval("SELECT id FROM registry"))

    async def create_model(self, model: Model) -> Model:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "INSERT INTO model (name, description, owner, create_time) VALUES ($1, $2, $3, $4)"
                " ON CONFLICT DO NOTHING RETURNING *",
                model.name,
                model.description,
                model.owner,
                model.create_time,
            )
        if row is None:
            raise AlreadyExists("MODEL_EXISTS", f"model {model.name!r} exists already", model=model.name)
        return rows.model(row)

    async def get_model(self, name: str) -> Model:
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM model WHERE name = $1", name)
        if row is None:
            raise _no_model(name)
        return rows.model(row)

    async def list_models(self, page: Page) -> tuple[Sequence[Model], str]:
        after = page.after[0] if page.after else ""
        async with self._database.connection() as connection:
            found = await connection.fetch(
                "SELECT * FROM model WHERE name > $1 ORDER BY name LIMIT $2", after, page.lookahead
            )
        return page.split([rows.model(row) for row in found], lambda model: (model.name,))

    async def create_version(self, version: ModelVersion) -> ModelVersion:
        await self.get_model(version.model)
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "INSERT INTO model_version (model, version, stage, digest, signature, feature_service,"
                " class_labels, max_batch_size, create_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
                " ON CONFLICT DO NOTHING RETURNING *",
                version.model,
                version.number,
                version.stage.value,
                version.digest,
                rows.stored(version.signature),
                version.feature_service,
                list(version.class_labels),
                version.max_batch_size,
                version.create_time,
            )
        if row is None:
            message = f"version {version.version} of model {version.model!r} exists already, and versions never change"
            raise AlreadyExists("MODEL_VERSION_EXISTS", message, model=version.model, version=version.version)
        return rows.version(row)

    async def get_version(self, model: str, version: str) -> ModelVersion:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "SELECT * FROM model_version WHERE model = $1 AND version = $2",
                model,
                rows.number(version),
            )
        if row is None:
            raise _no_version(model, version)
        return rows.version(row)

    async def list_versions(self, model: str, page: Page) -> tuple[Sequence[ModelVersion], str]:
        await self.get_model(model)
        after = rows.number(page.after[0]) if page.after else 0
        async with self._database.connection() as connection:
            found = await connection.fetch(
                "SELECT * FROM model_version WHERE model = $1 AND version > $2 ORDER BY version LIMIT $3",
                model,
                after,
                page.lookahead,
            )
        return page.split([rows.version(row) for row in found], lambda version: (version.version,))

    async def set_stage(self, model: str, version: str, stage: Stage, etag: str) -> ModelVersion:
        """An empty etag matches any."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                "UPDATE model_version SET stage = $3, revision = revision + 1"
                " WHERE model = $1 AND version = $2 AND ($4 = '' OR revision::text = $4)"
                " RETURNING *",
                model,
                rows.number(version),
                stage.value,
                etag,
            )
        if row is None:
            now = await self.get_version(model, version)
            message = f"the etag is {now.etag} now: read version {version} of {model!r} again, then write"
            raise Conflict("ETAG_MISMATCH", message, model=model, version=version)
        return rows.version(row)


def _no_model(name: str) -> NotFound:
    return NotFound("MODEL_NOT_FOUND", f"no model is named {name!r}", model=name)


def _no_version(model: str, version: str) -> NotFound:
    message = f"model {model!r} has no version {version!r}"
    return NotFound("MODEL_VERSION_NOT_FOUND", message, model=model, version=version)
