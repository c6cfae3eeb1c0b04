"""What does not go to a Triton: services, the slow door, and what nobody may call from outside."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane

SERVICES = {
    "routing": "/penstock.routing.v1.RoutingService/ListRoutes",
    "feature_store": "/penstock.feature_store.v1.FeatureServingService/GetOnlineFeatures",
    "model_serving": "/penstock.model_serving.v1.PredictionService/Predict",
    "experimentation": "/penstock.experimentation.v1.ExperimentationService/Assign",
    "cost_tracking": "/penstock.cost_tracking.v1.CostTrackingService/GetSpend",
    "health_monitoring": "/penstock.health_monitoring.v1.HealthMonitoringService/ExplainHealth",
}


@dataclass
class Service(grpc.GenericRpcHandler):
    """Answers every call, unary or stream, with its own name; remembers the callers' headers and deadlines."""

    name: str
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    remaining: list[float] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.seen[handler_call_details.method] = dict(handler_call_details.invocation_metadata)
        return grpc.stream_stream_rpc_method_handler(self.answer)

    def answer(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self.remaining.append(context.time_remaining())
        for _ in requests:
            yield self.name.encode()


@pytest.fixture(scope="session")
def services(shared_plane: DataPlane) -> Iterator[dict[str, Service]]:
    """Something that listens where each service would; routing's port belongs to the ADS server of these tests."""
    started, servers = {name: Service(name) for name in SERVICES if name != "routing"}, []
    for name, service in started.items():
        server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(service,))
        assert server.add_insecure_port(shared_plane.stack.address(name))
        server.start()
        servers.append(server)
    yield started
    for server in servers:
        server.stop(None)


def ask(channel: grpc.Channel, method: str, **more: Any) -> str:
    """The name of the service that answered, or the status."""
    call = channel.stream_stream(method, request_serializer=bytes, response_deserializer=bytes)
    try:
        return b"".join(call(iter([b"x"]), timeout=models.TIMEOUT, **more)).decode()
    except grpc.RpcError as error:
        return error.code().name


@pytest.mark.parametrize("listener", ["ingress", "mesh"])
def test_each_service_is_behind_both_listeners(data_plane: DataPlane, services: dict[str, Service], listener: str):
    with data_plane.channel(listener) as channel:
        for name in services:
            assert ask(channel, SERVICES[name]) == name


def test_the_rest_of_the_inference_protocol_goes_to_the_slow_door(ingress: grpc.Channel, services: dict[str, Service]):
    for method in ("ServerLive", "ServerReady", "ModelMetadata", "ModelStatistics", "ModelStreamInfer"):
        assert ask(ingress, f"/inference.GRPCInferenceService/{method}") == "model_serving"


@pytest.mark.parametrize("message", [b"\xff\xff\xff", models.request().SerializeToString() + b"\x43\x44"])
def test_what_the_filter_cannot_read_goes_to_the_slow_door(
    data_plane: DataPlane, ingress: grpc.Channel, services: dict[str, Service], message: bytes
):
    call = ingress.unary_unary(models.INFER, request_serializer=bytes, response_deserializer=bytes)
    answer, ended = call.with_call(message, timeout=models.TIMEOUT, metadata=[models.TAG])
    assert answer == b"model_serving"
    seen = services["model_serving"].seen[models.INFER]
    request_id = dict(ended.initial_metadata())["x-request-id"]
    assert (seen["x-request-id"], seen["x-penstock-tenant"]) == (request_id, "local")
    assert "x-penstock-roles" not in seen
    record = data_plane.record(request_id)
    assert (record.route, record.model, record.reached_triton) == ("slow-door", "", False)


@pytest.mark.usefixtures("services")
def test_compressed_messages_go_to_the_slow_door(ingress: grpc.Channel):
    message = models.request()
    message.id = "x" * 5000
    call = ingress.unary_unary(models.INFER, request_serializer=lambda m: m.SerializeToString())
    assert call(message, timeout=models.TIMEOUT, compression=grpc.Compression.Gzip) == b"model_serving"


def test_what_is_between_services_stays_there(data_plane: DataPlane, services: dict[str, Service]):
    private = {
        "/penstock.cost_tracking.v1.CostTrackingService/DeliverRecords": "cost_tracking",
        "/penstock.model_serving.v1.DeploymentService/WatchDeployments": "model_serving",
    }
    with data_plane.channel() as ingress, data_plane.channel("mesh") as mesh:
        for method, name in private.items():
            assert ask(ingress, method) == "PERMISSION_DENIED"
            assert ask(mesh, method) == name


def test_a_credential_is_not_forwarded(ingress: grpc.Channel, services: dict[str, Service]):
    method = SERVICES["model_serving"]
    assert ask(ingress, method, metadata=[("x-penstock-api-key", "secret"), ("x-penstock-routing-key", "u")])
    seen = services["model_serving"].seen[method]
    assert "x-penstock-api-key" not in seen
    assert seen["x-penstock-routing-key"] == "u"


def test_there_is_nothing_else(data_plane: DataPlane):
    for listener in ("ingress", "mesh"):
        with data_plane.channel(listener) as channel:
            assert ask(channel, "/nobody.knows.This/Method") == "UNIMPLEMENTED"


@pytest.mark.parametrize("listener", ["ingress", "mesh"])
def test_the_callers_deadline_goes_along(data_plane: DataPlane, services: dict[str, Service], listener: str):
    with data_plane.channel(listener) as channel:
        ask(channel, SERVICES["cost_tracking"])
    assert 0 < services["cost_tracking"].remaining[-1] < 1.1 * models.TIMEOUT  # gRPC rounds it up on the wire
