"""What does not go to a Triton: services, the slow door, and what nobody may call from outside."""

from __future__ import annotations

import grpc
import pytest

from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane
from tests.integration.dataplane.services import SERVICES, Service, ask


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
