"""The feature store, as a prediction needs it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import grpc

from libs.statuses import from_sibling
from penstock.feature_store.v1 import (
    feature_registry_service_pb2,
    feature_registry_service_pb2_grpc,
    feature_serving_service_pb2,
    feature_serving_service_pb2_grpc,
    feature_view_pb2,
    value_pb2,
)
from services.model_serving.domain.features import Contract, Feature, FeatureStatus, Field, Query, Scalar, ValueType

SERVICE = "feature_store"
LONGEST_SECONDS = 5.0
MICROSECONDS = 1_000_000
LISTS = {
    ValueType.INT64: "int64_values",
    ValueType.DOUBLE: "double_values",
    ValueType.STRING: "string_values",
    ValueType.BOOL: "bool_values",
    ValueType.TIMESTAMP: "timestamp_us_values",
}
ZEROS: Mapping[ValueType, Any] = {
    ValueType.INT64: 0,
    ValueType.DOUBLE: 0.0,
    ValueType.STRING: "",
    ValueType.BOOL: False,
    ValueType.TIMESTAMP: 0,
}


class FeatureStore:
    """Through the mesh listener."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._registry = feature_registry_service_pb2_grpc.FeatureRegistryServiceStub(channel)
        self._serving = feature_serving_service_pb2_grpc.FeatureServingServiceStub(channel)
        # feature services never change once created
        self._contracts: dict[str, Contract] = {}

    async def contract(self, feature_service: str) -> Contract:
        known = self._contracts.get(feature_service)
        if known is not None:
            return known
        request = feature_registry_service_pb2.GetFeatureServiceRequest(name=feature_service)
        try:
            answer = await self._registry.GetFeatureService(request, timeout=LONGEST_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_sibling(error, SERVICE) from error
        found = Contract(
            feature_service, _fields(answer.join_keys), _fields(answer.request_fields), _fields(answer.outputs)
        )
        self._contracts[feature_service] = found
        return found

    async def fetch(
        self, contract: Contract, query: Query, as_of: datetime | None, seconds: float | None
    ) -> Sequence[Feature]:
        request = feature_serving_service_pb2.GetOnlineFeaturesRequest(
            feature_service=contract.name,
            entities=[_column(name, *value) for name, value in query.entities.items()],
            request_features=[_column(name, *value) for name, value in query.request_features.items()],
        )
        if as_of is not None:
            request.as_of.FromDatetime(as_of)
        timeout = LONGEST_SECONDS if seconds is None else min(seconds, LONGEST_SECONDS)
        try:
            answer = await self._serving.GetOnlineFeatures(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise from_sibling(error, SERVICE) from error
        return [_feature(column) for column in answer.features]


def _fields(fields: Sequence[feature_view_pb2.Field]) -> tuple[Field, ...]:
    return tuple(Field(f.name, ValueType(value_pb2.ValueType.Name(f.type).removeprefix("VALUE_TYPE_"))) for f in fields)


def _column(name: str, kind: ValueType, value: Scalar) -> value_pb2.Column:
    """One row."""
    held = ZEROS[kind] if value is None else _microseconds(value) if isinstance(value, datetime) else value
    column = value_pb2.Column(name=name, type=value_pb2.ValueType.Value(f"VALUE_TYPE_{kind.value}"))
    getattr(column, LISTS[kind]).append(held)
    if value is None:
        column.valid.append(False)
    return column


def _feature(column: feature_serving_service_pb2.FeatureColumn) -> Feature:
    """The only row of a column."""
    status = FeatureStatus(value_pb2.FeatureStatus.Name(column.statuses[0]).removeprefix("FEATURE_STATUS_"))
    value: Scalar = None
    if status is FeatureStatus.PRESENT:
        kind = ValueType(value_pb2.ValueType.Name(column.values.type).removeprefix("VALUE_TYPE_"))
        value = getattr(column.values, LISTS[kind])[0]
        if kind is ValueType.TIMESTAMP:
            value = datetime.fromtimestamp(getattr(column.values, LISTS[kind])[0] / MICROSECONDS, UTC)
    return Feature(column.values.name, value, status, column.event_time_us[0] if column.event_time_us else 0)


def _microseconds(instant: datetime) -> int:
    since = instant - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds
