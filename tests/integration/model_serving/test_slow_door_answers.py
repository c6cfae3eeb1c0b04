"""What the slow door answers about models that are not there is what a Triton answers."""

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from tests.integration.model_serving.conftest import SECONDS


@pytest.fixture
async def triton(tritons):
    async with grpc.aio.insecure_channel(tritons.address("triton_a_grpc")) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


async def answered(call, request):
    """The code, and the answer if there is one."""
    try:
        return grpc.StatusCode.OK, await call(request, timeout=SECONDS)
    except grpc.aio.AioRpcError as error:
        return error.code(), None


@pytest.mark.parametrize("version", ["", "7", "abc", "-5", "0", "99999999999999999999"])
@pytest.mark.parametrize("name", ["", "nobody"])
@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelConfig"])
async def test_as_a_triton_does(replica, triton, method, name, version):
    request = getattr(pb, f"{method}Request")(name=name, version=version)
    ours = await answered(getattr(replica.inference, method), request)
    assert ours == await answered(getattr(triton, method), request)
