"""One channel to the ingress and a stub for each service."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, NamedTuple, Self

import grpc

from penstock.cost_tracking.v1.cost_tracking_service_pb2_grpc import CostTrackingServiceStub
from penstock.experimentation.v1.experimentation_service_pb2_grpc import ExperimentationServiceStub
from penstock.feature_store.v1.feature_registry_service_pb2_grpc import FeatureRegistryServiceStub
from penstock.feature_store.v1.feature_serving_service_pb2_grpc import FeatureServingServiceStub
from penstock.health_monitoring.v1.health_monitoring_service_pb2_grpc import HealthMonitoringServiceStub
from penstock.model_serving.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from penstock.model_serving.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
from penstock.model_serving.v1.prediction_service_pb2_grpc import PredictionServiceStub
from penstock.routing.v1.access_service_pb2_grpc import AccessServiceStub
from penstock.routing.v1.routing_service_pb2_grpc import RoutingServiceStub

DEADLINE_SECONDS = 5.0
MESSAGE_BYTES = 64 * 1024 * 1024


class Penstock:
    """Every service of the mesh at `address` (host:port of the ingress). Thread-safe, as its channel is.

    Without an `api_key` the environment's PENSTOCK_API_KEY is sent.
    """

    def __init__(
        self, address: str = "localhost:10000", *, api_key: str = "", deadline_seconds: float = DEADLINE_SECONDS
    ) -> None:
        key = api_key or os.environ.get("PENSTOCK_API_KEY", "")
        plain = grpc.insecure_channel(
            address,
            options=[
                ("grpc.enable_retries", 0),
                ("grpc.max_receive_message_length", MESSAGE_BYTES),
                ("grpc.max_send_message_length", MESSAGE_BYTES),
            ],
        )
        self._on(grpc.intercept_channel(plain, _Defaults(key, deadline_seconds)))

    @classmethod
    def over(cls, channel: grpc.Channel) -> Self:
        """The same over a channel of the caller's own, as it is."""
        made = cls.__new__(cls)
        made._on(channel)  # noqa: SLF001  its own
        return made

    def _on(self, channel: grpc.Channel) -> None:
        """Point every stub at the channel."""
        self._channel = channel
        self.routing = RoutingServiceStub(channel)
        self.access = AccessServiceStub(channel)
        self.models = ModelRegistryServiceStub(channel)
        self.deployments = DeploymentServiceStub(channel)
        self.predictions = PredictionServiceStub(channel)
        self.feature_registry = FeatureRegistryServiceStub(channel)
        self.features = FeatureServingServiceStub(channel)
        self.experiments = ExperimentationServiceStub(channel)
        self.costs = CostTrackingServiceStub(channel)
        self.health = HealthMonitoringServiceStub(channel)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Details(NamedTuple):
    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Defaults(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """A deadline where the call names none, and the credential. A stream of answers has no deadline of its own."""

    def __init__(self, api_key: str, deadline_seconds: float) -> None:
        self._extra = [("x-penstock-api-key", api_key)] if api_key else []
        self._deadline = deadline_seconds

    def _details(self, given: Any, deadline: float | None) -> _Details:
        return _Details(
            given.method,
            given.timeout if given.timeout is not None else deadline,
            [*(given.metadata or ()), *self._extra],
            given.credentials,
            given.wait_for_ready,
            given.compression,
        )

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._details(client_call_details, self._deadline), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._details(client_call_details, None), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(self._details(client_call_details, None), request_iterator)

    def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(self._details(client_call_details, None), request_iterator)
