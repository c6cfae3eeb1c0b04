"""Definitions as JSON documents."""

import json
from dataclasses import asdict
from enum import Enum
from typing import Any

from services.feature_store.domain.columns import Field, ValueType
from services.feature_store.domain.definitions import (
    Aggregation,
    BatchSource,
    Entity,
    FeatureReference,
    FeatureService,
    FeatureView,
    Function,
    OnDemandSource,
    Source,
    StreamSource,
    Transform,
    Transformation,
)

_KINDS: dict[str, type[BatchSource] | type[StreamSource] | type[OnDemandSource]] = {
    "batch": BatchSource,
    "stream": StreamSource,
    "on_demand": OnDemandSource,
}
_OWN_COLUMNS = ("name", "etag", "create_time", "view_id", "schema_id")


def document(definition: Entity | FeatureView | FeatureService) -> str:
    """All that has no column of its own."""
    content = {name: value for name, value in asdict(definition).items() if name not in _OWN_COLUMNS}
    if isinstance(definition, FeatureView):
        content["kind"] = next(name for name, kind in _KINDS.items() if isinstance(definition.source, kind))
    return json.dumps(content, default=_plain)


def entity(row: Any) -> Entity:
    content = json.loads(row["definition"])
    return Entity(
        name=row["name"],
        join_keys=_fields(content["join_keys"]),
        description=content["description"],
        etag=row["etag"],
        create_time=row["create_time"],
    )


def view(row: Any) -> FeatureView:
    content = json.loads(row["definition"])
    return FeatureView(
        name=row["name"],
        entity=content["entity"],
        source=_source(content["kind"], content["source"]),
        ttl_us=content["ttl_us"],
        description=content["description"],
        etag=row["etag"],
        create_time=row["create_time"],
        view_id=row["id"],
        schema_id=row["schema_id"] or 0,
    )


def service(row: Any) -> FeatureService:
    content = json.loads(row["definition"])
    return FeatureService(
        name=row["name"],
        features=tuple(
            FeatureReference(r["view"], r["feature"], r["alias"], ValueType(r["type"]) if r["type"] else None)
            for r in content["features"]
        ),
        description=content["description"],
        etag=row["etag"],
        create_time=row["create_time"],
    )


def fields_document(fields: tuple[Field, ...]) -> str:
    return json.dumps([asdict(field) for field in fields], default=_plain)


def _source(kind: str, content: Any) -> Source:
    if kind == "batch":
        return BatchSource(_fields(content["features"]))
    if kind == "stream":
        return StreamSource(
            _fields(content["event_fields"]),
            tuple(
                Aggregation(a["feature"], Function(a["function"]), a["field"], a["window_us"])
                for a in content["aggregations"]
            ),
        )
    return OnDemandSource(
        _fields(content["request_fields"]),
        tuple(
            Transformation(t["feature"], Transform(t["function"]), tuple(t["inputs"]), t["time_zone"])
            for t in content["transformations"]
        ),
    )


def _fields(content: Any) -> tuple[Field, ...]:
    return tuple(Field(field["name"], ValueType(field["type"])) for field in content)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{value!r} has no place in a document")
