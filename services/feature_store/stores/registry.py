"""Entities, views and feature services in Postgres."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from libs.errors import AlreadyExists
from libs.postgres import Database
from services.feature_store.domain.definitions import Entity, FeatureService, FeatureView
from services.feature_store.domain.plan import StoredView
from services.feature_store.stores import documents

_VIEWS = "SELECT v.*, s.id AS schema_id FROM feature_view v LEFT JOIN row_schema s ON s.view_id = v.id"


@dataclass(frozen=True)
class PostgresRegistry:
    database: Database

    async def add_entity(self, tenant: str, entity: Entity) -> None:
        async with self.database.transaction() as connection:
            try:
                await connection.execute(
                    "INSERT INTO entity (tenant, name, definition, etag, create_time) VALUES ($1, $2, $3, $4, $5)",
                    tenant,
                    entity.name,
                    documents.document(entity),
                    entity.etag,
                    entity.create_time,
                )
            except asyncpg.UniqueViolationError as error:
                raise AlreadyExists("ENTITY_EXISTS", f"entity {entity.name!r} exists", entity=entity.name) from error

    async def add_view(self, tenant: str, view: FeatureView) -> FeatureView:
        async with self.database.transaction() as connection:
            try:
                view_id = await connection.fetchval(
                    "INSERT INTO feature_view (tenant, name, entity, definition, etag, create_time)"
                    " VALUES ($1, $2, $3, $4, $5, $6) RETURNING id",
                    tenant,
                    view.name,
                    view.entity or None,
                    documents.document(view),
                    view.etag,
                    view.create_time,
                )
            except asyncpg.UniqueViolationError as error:
                message = f"feature view {view.name!r} exists"
                raise AlreadyExists("FEATURE_VIEW_EXISTS", message, feature_view=view.name) from error
            if not view.entity:
                return replace(view, view_id=view_id)
            schema_id = await connection.fetchval(
                "INSERT INTO row_schema (view_id, fields) VALUES ($1, $2) RETURNING id",
                view_id,
                documents.fields_document(view.stored),
            )
            return replace(view, view_id=view_id, schema_id=schema_id)

    async def add_service(self, tenant: str, service: FeatureService) -> None:
        async with self.database.transaction() as connection:
            try:
                await connection.execute(
                    "INSERT INTO feature_service (tenant, name, definition, etag, create_time)"
                    " VALUES ($1, $2, $3, $4, $5)",
                    tenant,
                    service.name,
                    documents.document(service),
                    service.etag,
                    service.create_time,
                )
            except asyncpg.UniqueViolationError as error:
                message = f"feature service {service.name!r} exists"
                raise AlreadyExists("FEATURE_SERVICE_EXISTS", message, feature_service=service.name) from error

    async def entities(self, tenant: str, names: Sequence[str]) -> Mapping[str, Entity]:
        rows = await self._fetch("SELECT * FROM entity WHERE tenant = $1 AND name = ANY($2)", tenant, names)
        return {row["name"]: documents.entity(row) for row in rows}

    async def views(self, tenant: str, names: Sequence[str]) -> Mapping[str, FeatureView]:
        rows = await self._fetch(f"{_VIEWS} WHERE v.tenant = $1 AND v.name = ANY($2)", tenant, names)
        return {row["name"]: documents.view(row) for row in rows}

    async def service(self, tenant: str, name: str) -> FeatureService | None:
        rows = await self._fetch("SELECT * FROM feature_service WHERE tenant = $1 AND name = $2", tenant, name)
        return documents.service(rows[0]) if rows else None

    async def stored_views(self) -> Sequence[tuple[str, StoredView]]:
        entities = await self._fetch("SELECT * FROM entity")
        about = {(row["tenant"], row["name"]): documents.entity(row) for row in entities}
        rows = await self._fetch(f"{_VIEWS} WHERE v.entity IS NOT NULL ORDER BY v.id")
        found: list[tuple[str, StoredView]] = []
        for row in rows:
            view = documents.view(row)
            names = tuple(feature.name for feature in view.features)
            found.append((row["tenant"], StoredView(view, about[row["tenant"], view.entity], names)))
        return found

    async def list_entities(self, tenant: str, after: str, most: int) -> Sequence[Entity]:
        query = 'SELECT * FROM entity WHERE tenant = $1 AND name > $2 COLLATE "C" ORDER BY name COLLATE "C" LIMIT $3'
        return [documents.entity(row) for row in await self._fetch(query, tenant, after, most)]

    async def list_views(self, tenant: str, after: str, most: int) -> Sequence[FeatureView]:
        query = f'{_VIEWS} WHERE tenant = $1 AND name > $2 COLLATE "C" ORDER BY name COLLATE "C" LIMIT $3'
        return [documents.view(row) for row in await self._fetch(query, tenant, after, most)]

    async def list_services(self, tenant: str, after: str, most: int) -> Sequence[FeatureService]:
        query = (
            "SELECT * FROM feature_service"
            ' WHERE tenant = $1 AND name > $2 COLLATE "C" ORDER BY name COLLATE "C" LIMIT $3'
        )
        return [documents.service(row) for row in await self._fetch(query, tenant, after, most)]

    async def _fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        async with self.database.connection() as connection:
            return await connection.fetch(query, *arguments)
