"""What a route's defaults do to a model that is slow and to one that fails, on a real Triton."""

import grpc
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from tests.integration.routing.conftest import PARTS, mesh_of
from tests.integration.routing.siblings import deployment
from tests.integration.routing.test_policy_in_envoy import create
from tests.models import answered_by, infer_request
from tests.polling import eventually_async

MODEL = """
import time
import numpy as np, triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        if {fails}:
            return [pb.InferenceResponse([], error=pb.TritonError("no such input")) for _ in requests]
        time.sleep(1.5)
        xs = [pb.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        return [pb.InferenceResponse([pb.Tensor("Y", x + {version})]) for x in xs]
"""
CONFIGURATION = """
backend: "python"
version_policy { all {} }
input [{ name: "X" data_type: TYPE_FP32 dims: [1, 4] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [1, 4] }]
instance_group [{ kind: KIND_CPU count: 1 }]
"""


@pytest.fixture(scope="module")
async def serving_mesh(tmp_path_factory):
    """One Triton with `slow`, and `failing`, whose version 1 always fails."""
    async with mesh_of(tmp_path_factory.mktemp("a trying mesh"), (*PARTS, "triton-a")) as mesh:
        at = mesh.stack.address("triton_a_grpc")
        async with InferenceServerClient(at) as client:
            for model, version in (("slow", 1), ("failing", 1), ("failing", 2)):
                folder = mesh.stack.repository("a") / model / str(version)
                folder.mkdir(parents=True)
                fails = str((model, version) == ("failing", 1))
                (folder / "model.py").write_text(MODEL.replace("{fails}", fails).replace("{version}", str(version)))
                (folder.parent / "config.pbtxt").write_text(f'name: "{model}"{CONFIGURATION}')
            for model in ("slow", "failing"):
                await client.load_model(model)
        placed = (("slow", "1"), ("failing", "1"), ("failing", "2"))
        mesh.siblings.fleet.publish([deployment(model, version, a=at) for model, version in placed])
        yield mesh


async def answer(mesh, model):
    """The call as it ended, once the model has a route in Envoy."""
    infer = GRPCInferenceServiceStub(mesh.ingress).ModelInfer

    async def probe():
        call = infer(infer_request(model), timeout=10)
        return await call.code() is not grpc.StatusCode.NOT_FOUND and call

    return await eventually_async(probe, within=30)


async def attempts(call):
    headers = dict([*await call.initial_metadata(), *await call.trailing_metadata()])
    return headers["x-envoy-attempt-count"]


async def test_a_model_of_a_second_and_a_half_is_served_at_once(serving_mesh):
    await create(serving_mesh, "slow", "1")
    call = await answer(serving_mesh, "slow")
    assert (await call.code(), await attempts(call)) == (grpc.StatusCode.OK, "1")
    assert answered_by(await call) == "1"


async def test_a_model_that_fails_is_tried_as_often_as_the_route_says_and_its_own_words_are_told(serving_mesh):
    await create(serving_mesh, "failing", "1")
    call = await answer(serving_mesh, "failing")
    assert (await call.code(), await attempts(call)) == (grpc.StatusCode.INTERNAL, "6")
    assert "no such input" in await call.details()
