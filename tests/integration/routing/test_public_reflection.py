"""What grpcurl asks for `list` and `describe`, through the ingress: reflection v1 and v1alpha, and health."""

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from services.routing.servers import public
from tests.polling import eventually_async

TEN = {
    "penstock.cost_tracking.v1.CostTrackingService",
    "penstock.experimentation.v1.ExperimentationService",
    "penstock.feature_store.v1.FeatureRegistryService",
    "penstock.feature_store.v1.FeatureServingService",
    "penstock.health_monitoring.v1.HealthMonitoringService",
    "penstock.model_serving.v1.DeploymentService",
    "penstock.model_serving.v1.ModelRegistryService",
    "penstock.model_serving.v1.PredictionService",
    "penstock.routing.v1.AccessService",
    "penstock.routing.v1.RoutingService",
}


@pytest.fixture(params=["v1", "v1alpha"])
async def ask(mesh, request):
    """One question, one answer, on a stream of its own, as each version of the protocol has it."""
    reflect = mesh.ingress.stream_stream(
        f"/grpc.reflection.{request.param}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )

    async def ask(**question):
        stream = reflect(timeout=10)
        await stream.write(reflection_pb2.ServerReflectionRequest(**question))
        await stream.done_writing()
        return await stream.read()

    await eventually_async(lambda: ask(list_services=""), within=30)
    return ask


async def test_everything_public_is_listed(ask):
    listed = {service.name for service in (await ask(list_services="")).list_services_response.service}
    assert listed >= TEN | {"inference.GRPCInferenceService", "grpc.health.v1.Health"}


@pytest.mark.parametrize("service", public.SERVICES)
async def test_what_is_listed_can_be_described(ask, service):
    answer = await ask(file_containing_symbol=service)
    files = [FileDescriptorProto.FromString(f) for f in answer.file_descriptor_response.file_descriptor_proto]
    assert service in {f"{file.package}.{found.name}" for file in files for found in file.service}
    given = {file.name for file in files}
    assert all(needed in given for file in files for needed in file.dependency)


async def test_what_is_not_there_is_not_found(ask):
    assert (await ask(file_containing_symbol="nobody.Nothing")).error_response.error_code == 5


async def test_health_answers_at_the_ingress(mesh):
    health = health_pb2_grpc.HealthStub(mesh.ingress)
    answer = await eventually_async(lambda: health.Check(health_pb2.HealthCheckRequest()), within=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
