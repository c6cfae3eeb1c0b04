"""Rows of the schema and what they mean in the domain."""

import json
from typing import TypedDict, cast

import asyncpg

from services.model_serving.domain.deployment import Placement, PlacementState, Server
from services.model_serving.domain.model import VERSION, Model, ModelVersion, Stage
from services.model_serving.domain.signature import Signature, TensorSpec

CHANGED = "deployment"
"""Notified whenever servers, deployments or placements, or what is known of their versions, change."""


class StoredTensor(TypedDict):
    name: str
    datatype: str
    shape: list[int]


def number(version: str) -> int:
    """0, which no version has, for what is no version."""
    return int(version) if VERSION.fullmatch(version) else 0


def model(row: asyncpg.Record) -> Model:
    # a model is never rewritten, so its etag never changes
    return Model(row["name"], row["description"], row["owner"], "1", row["create_time"])


def version(row: asyncpg.Record) -> ModelVersion:
    return ModelVersion(
        model=row["model"],
        version=str(row["version"]),
        stage=Stage(row["stage"]),
        digest=row["digest"],
        signature=_signature(row["signature"]),
        feature_service=row["feature_service"],
        class_labels=tuple(row["class_labels"]),
        max_batch_size=row["max_batch_size"],
        etag=str(row["revision"]),
        create_time=row["create_time"],
    )


def placement(row: asyncpg.Record) -> Placement:
    return Placement(
        server=row["server"],
        address=row["address"],
        state=PlacementState(row["state"]),
        update_time=row["update_time"],
        message=row["message"],
        attempts=row["attempts"],
        retry_time=row["retry_time"],
    )


def server(row: asyncpg.Record) -> Server:
    return Server(
        name=row["name"],
        address=row["address"],
        repository_path=row["repository_path"],
        metrics_address=row["metrics_address"],
        reachable=row["reachable"],
        version=row["server_version"],
    )


def stored(signature: Signature) -> str:
    def tensors(specs: tuple[TensorSpec, ...]) -> list[StoredTensor]:
        return [StoredTensor(name=s.name, datatype=s.datatype, shape=list(s.shape)) for s in specs]

    return json.dumps({"inputs": tensors(signature.inputs), "outputs": tensors(signature.outputs)})


def _signature(text: str) -> Signature:
    read = cast(dict[str, list[StoredTensor]], json.loads(text))

    def specs(kind: str) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(t["name"], t["datatype"], tuple(t["shape"])) for t in read[kind])

    return Signature(specs("inputs"), specs("outputs"))
