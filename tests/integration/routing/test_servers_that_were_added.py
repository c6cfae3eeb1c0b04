"""Servers as people register them: by a name, or by an address that Envoy will not take."""

import asyncio

import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from penstock.routing.v1 import routing_service_pb2 as pb
from tests.integration.routing.conftest import PARTS, mesh_of
from tests.integration.routing.siblings import deployment
from tests.integration.routing.test_policy_in_envoy import acknowledged, create, explain
from tests.models import answered_by, infer_request, shift
from tests.polling import eventually_async

CONFIGURATION = """
backend: "onnxruntime"
max_batch_size: 8
input [{ name: "X" data_type: TYPE_FP32 dims: [4] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [4] }]
"""
REFUSED = "127.0.0.1:99999"


@pytest.fixture(scope="module")
async def serving_mesh(tmp_path_factory):
    """With one Triton, which serves version 1 of `m` and of `n`."""
    async with mesh_of(tmp_path_factory.mktemp("a serving mesh"), (*PARTS, "triton-a")) as mesh:
        async with InferenceServerClient(mesh.stack.address("triton_a_grpc")) as client:
            for model in ("m", "n"):
                folder = mesh.stack.repository("a") / model
                (folder / "1").mkdir(parents=True)
                (folder / "1" / "model.onnx").write_bytes(shift(1))
                (folder / "config.pbtxt").write_text(f'name: "{model}"{CONFIGURATION}')
                await client.load_model(model)
        yield mesh


def at(mesh, host):
    return f"{host}:{mesh.stack.ports['triton_a_grpc']}"


async def answers(mesh, model):
    """The version that the ingress answers with, once it does."""
    stub = GRPCInferenceServiceStub(mesh.ingress)
    return answered_by(await eventually_async(lambda: stub.ModelInfer(infer_request(model), timeout=5), within=30))


async def refused(mesh):
    (proxy,) = (await mesh.routing_direct.ListProxies(pb.ListProxiesRequest(), timeout=5)).proxies
    return [rejection.message for rejection in proxy.rejections]


async def test_a_server_with_a_name_takes_traffic_alone_and_beside_one_with_an_address(serving_mesh):
    mesh = serving_mesh
    mesh.siblings.fleet.publish(
        [
            deployment("m", "1", mine=at(mesh, "localhost")),
            deployment("n", "1", mine=at(mesh, "localhost"), a=at(mesh, "127.0.0.1")),
        ]
    )
    await create(mesh, "m", "1")
    await create(mesh, "n", "1")
    assert (await answers(mesh, "m"), await answers(mesh, "n")) == ("1", "1")
    assert (await acknowledged(mesh)).acknowledged_revision
    assert await refused(mesh) == []
    (endpoint,) = (await explain(mesh, "m")).endpoints[-1:]
    assert (endpoint.server, endpoint.included) == ("mine", True)


async def test_a_server_that_envoy_refuses_harms_no_other_model(serving_mesh):
    mesh = serving_mesh
    well = deployment("m", "1", a=at(mesh, "127.0.0.1"))
    mesh.siblings.fleet.publish([well])
    await create(mesh, "sick", "1")
    assert await answers(mesh, "m") == "1"
    mesh.siblings.fleet.publish([well, deployment("sick", "1", bad=REFUSED)])

    async def told():
        return any("99999" in message or "port" in message.lower() for message in await refused(mesh))

    await eventually_async(told, within=30, message="the refusal is not told")
    await create(mesh, "late", "1", "2")
    mesh.siblings.fleet.publish(
        [well, deployment("sick", "1", bad=REFUSED), deployment("late", "1", a=at(mesh, "127.0.0.1"))]
    )

    async def goes_on():
        return (await explain(mesh, "late")).chain

    assert list(await eventually_async(goes_on, within=30, message="a later policy is held back")) == ["1"] * 6
    assert await answers(mesh, "m") == "1"
    log = await asyncio.to_thread(lambda: (mesh.stack.places.log("routing")).read_text())
    assert log.count("refused ") <= 8, "the refused is sent again"
    mesh.siblings.fleet.publish([well, deployment("late", "1", a=at(mesh, "127.0.0.1"))])
    await acknowledged(mesh)
    assert await refused(mesh) == []
