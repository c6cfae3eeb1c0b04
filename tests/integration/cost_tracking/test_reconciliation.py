"""The books beside the counters of a real Envoy and a real Triton; who cannot be read says so."""

import json

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton

from deploy.local.stack import Stack
from libs.channels import open_channel
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as pb
from penstock.model_serving.v1.deployment_pb2 import Server
from penstock.model_serving.v1.deployment_service_pb2 import ListServersResponse
from penstock.model_serving.v1.deployment_service_pb2_grpc import (
    DeploymentServiceServicer,
    add_DeploymentServiceServicer_to_server,
)
from tests.conftest import running
from tests.integration.cost_tracking.conftest import NOBODY, record, replica
from tests.models import WIDTH, infer_request, shift

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"


class ModelServing(DeploymentServiceServicer):
    """model_serving as far as cost_tracking asks it; pages of one, so that pages are followed."""

    def __init__(self, *servers: Server) -> None:
        self._servers = servers

    async def ListServers(self, request, context):
        index = int(request.page_token or 0)
        following = str(index + 1) if index + 1 < len(self._servers) else ""
        return ListServersResponse(servers=self._servers[index : index + 1], next_page_token=following)


@pytest.fixture(scope="module")
def envoy(tmp_path_factory):
    with running(tmp_path_factory.mktemp("envoy"), ("envoy",)) as stack:
        yield stack


@pytest.fixture
async def servers(envoy: Stack, tritons: Stack):
    """Three servers, told by model_serving behind the mesh: one that answers, one that is away, one without metrics."""
    server = grpc.aio.server()
    told = ModelServing(
        Server(name="a", address=tritons.address("triton_a_grpc"), metrics_address=tritons.address("triton_a_metrics")),
        Server(name="away", address=NOBODY, metrics_address=NOBODY),
        Server(name="silent", address=tritons.address("triton_b_grpc")),
    )
    add_DeploymentServiceServicer_to_server(told, server)
    server.add_insecure_port(f"127.0.0.1:{envoy.ports['model_serving']}")
    await server.start()
    yield
    await server.stop(0)


@pytest.fixture
async def books(envoy: Stack, fresh_database):
    async with replica(fresh_database, envoy.address("mesh"), envoy.address("envoy_admin")) as client:
        yield client


async def reconcile(client, **asked):
    return (await client.costs.Reconcile(pb.ReconcileRequest(**asked))).reconciliation


def read(readings):
    return {r.source: r.value if r.HasField("value") else r.error for r in readings}


def infer(tritons: Stack, times: int) -> None:
    """Calls a model of its own on Triton a, past every Envoy."""
    path = tritons.repository("a") / "counted" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(shift(1))
    tensors = {"data_type": "TYPE_FP32", "dims": [WIDTH]}
    config = {
        "name": "counted",
        "backend": "onnxruntime",
        "max_batch_size": 8,
        "input": [{"name": "X", **tensors}],
        "output": [{"name": "Y", **tensors}],
    }
    with triton.InferenceServerClient(tritons.address("triton_a_grpc")) as client:
        client.load_model("counted", config=json.dumps(config))
        tensor = triton.InferInput("X", [1, WIDTH], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, WIDTH), np.float32))
        for _ in range(times):
            client.infer("counted", [tensor], client_timeout=10)


async def test_each_server_is_read_or_says_why_not(books, servers, tritons):
    before = read((await reconcile(books)).servers)
    infer(tritons, 7)
    after = read((await reconcile(books)).servers)
    assert after["triton/a"] - before["triton/a"] == 7
    assert "Connection refused" in after["triton/away"]
    assert "without the address of its metrics" in after["triton/silent"]


async def test_envoy_counts_no_call_that_it_refused_as_an_inference(books, servers, envoy):
    for hop in ("ingress", "mesh"):
        async with open_channel(envoy.address(hop)) as channel:
            call = channel.unary_unary(MODEL_INFER)
            with pytest.raises(grpc.aio.AioRpcError):
                await call(infer_request("nobody").SerializeToString())
    assert read((await reconcile(books)).envoy) == {"envoy/ingress": 0, "envoy/mesh": 0, "envoy/mirror": 0}


async def test_nobody_answers_and_the_books_are_told_all_the_same(client):
    await client.deliver(record("r"), record("s", 60))
    found = await reconcile(client)
    assert (found.records, found.ledger_requests) == (2, 2)
    assert all(not reading.HasField("value") and reading.error for reading in (*found.envoy, *found.servers))
    sources = ["envoy/ingress", "envoy/mesh", "envoy/mirror", "triton"]
    assert [reading.source for reading in (*found.envoy, *found.servers)] == sources


async def test_from_a_time_on_only_later_records_count(client):
    start = record("s", 60).start_time
    await client.deliver(record("r"), record("s", 60), record("t", 7200, grpc_status=14))
    found = await reconcile(client, **{"from": start})
    assert (found.records, found.ledger_requests, found.failed_requests) == (2, 1, 1)
