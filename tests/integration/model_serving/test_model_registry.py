"""The registry over gRPC: what is stored, what is refused, and in which words."""

import asyncio

import grpc
import numpy as np
import onnx
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

from libs.statuses import reason_of
from penstock.feature_store.v1.value_pb2 import Value
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.deployment_pb2 import Placement, Server
from penstock.model_serving.v1.model_pb2 import (
    STAGE_PRODUCTION,
    STAGE_STAGING,
    Model,
    ModelVersion,
    Signature,
    TensorSpec,
)
from penstock.model_serving.v1.prediction_service_pb2 import PredictRequest
from services.model_serving.clients.inference import NativeRoute
from services.model_serving.clients.triton import TritonChannels
from services.model_serving.domain.catalogue import Catalogue
from services.model_serving.servers.door import Door
from services.model_serving.servers.questions import Questions
from services.model_serving.servers.slow_door import SlowDoor
from tests.integration.model_serving.conftest import SECONDS, deploy, deployment, register, upload
from tests.models import shift
from tests.polling import eventually_async

INVALID, EXISTS = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.ALREADY_EXISTS
NOT_FOUND, ABORTED = grpc.StatusCode.NOT_FOUND, grpc.StatusCode.ABORTED


async def refused(call):
    """(code, reason, blamed fields) of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    blamed = set()
    for detail in rpc_status.from_call(raised.value).details:
        bad = BadRequest()
        if detail.Unpack(bad):
            blamed |= {violation.field for violation in bad.field_violations}
    return raised.value.code(), reason_of(raised.value), blamed


def create(replica, **version):
    asked = reg.CreateModelVersionRequest(model_version=ModelVersion(**version))
    return replica.models.CreateModelVersion(asked, timeout=SECONDS)


def stored(replica):
    return [path for path in replica.artifacts.rglob("*") if path.is_file()]


def classifier(zipmap):
    fitted = LogisticRegression().fit(np.array([[0.0, 0], [1, 1]], np.float32), [0, 1])
    options = {id(fitted): {"zipmap": zipmap}}
    return to_onnx(fitted, np.zeros((1, 2), np.float32), options=options, target_opset=17).SerializeToString()


async def test_a_file_is_stored_once_by_its_content(replica):
    digest = await upload(replica, shift(1))
    assert await upload(replica, shift(1)) == digest
    assert [path.name for path in stored(replica)] == [f"{digest}.onnx"]
    assert stored(replica)[0].read_bytes() == shift(1)


async def test_nothing_is_kept_of_what_is_no_model(replica):
    sequence = classifier(zipmap=True)
    for data in (b"", b"not a model", shift(1)[: len(shift(1)) // 2], sequence):
        assert (await refused(upload(replica, data)))[:2] == (INVALID, "ARTIFACT_INVALID")
    assert stored(replica) == []


async def test_nothing_is_kept_of_an_upload_that_breaks_off(replica):
    begun = asyncio.Event()

    async def chunks():
        yield reg.UploadArtifactRequest(chunk=shift(1)[:50])
        begun.set()
        await asyncio.Event().wait()

    call = replica.models.UploadArtifact(chunks())
    await begun.wait()
    call.cancel()
    assert await upload(replica, shift(2))
    await eventually_async(lambda: len(stored(replica)) == 1, message="only what is whole is kept")


async def test_chunks_are_bounded(replica):
    large = iter([reg.UploadArtifactRequest(chunk=bytes(1024 * 1024 + 1))])
    code, reason, blamed = await refused(replica.models.UploadArtifact(large, timeout=SECONDS))
    assert (code, reason, blamed) == (INVALID, "INVALID_REQUEST", {"chunk"})


async def test_the_signature_is_read_from_the_file(replica):
    version = await register(replica, "flights", 1, classifier(zipmap=False), class_labels=["on time", "late"])
    assert [(t.name, t.datatype, list(t.shape)) for t in version.signature.inputs] == [("X", "FP32", [2])]
    assert [(t.name, t.datatype, list(t.shape)) for t in version.signature.outputs] == [
        ("label", "INT64", []),
        ("probabilities", "FP32", [2]),
    ]
    assert version.max_batch_size == 64


async def test_weights_outside_the_file_are_refused(replica, tmp_path):
    weights = helper.make_tensor("w", TensorProto.FLOAT, [1000], np.zeros(1000, np.float32).tobytes(), raw=True)
    graph = helper.make_graph(
        [helper.make_node("Add", ["X", "w"], ["Y"])],
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 1000])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 1000])],
        [weights],
    )
    onnx.save_model(
        helper.make_model(graph), tmp_path / "m.onnx", save_as_external_data=True, location="w", size_threshold=0
    )
    code, reason, _ = await refused(upload(replica, (tmp_path / "m.onnx").read_bytes()))
    assert (code, reason) == (INVALID, "ARTIFACT_INVALID")


async def test_every_fault_of_a_version_is_said_at_once(replica):
    code, reason, blamed = await refused(create(replica, version="01", class_labels=["a", "a"]))
    assert (code, reason) == (INVALID, "INVALID_REQUEST")
    assert blamed == {
        "model_version.model",
        "model_version.version",
        "model_version.artifact",
        "model_version.class_labels",
    }


async def test_what_a_version_says_must_be_what_its_file_says(replica):
    await register(replica, "shift", 1, shift(1))
    digest = await upload(replica, shift(2))
    spec = {"datatype": "FP32", "shape": [4]}
    other = Signature(inputs=[TensorSpec(name="Z", **spec)], outputs=[TensorSpec(name="Y", **spec)])
    code, _, blamed = await refused(create(replica, model="shift", version="2", onnx_digest=digest, signature=other))
    assert code is INVALID
    assert blamed == {"model_version.signature.inputs[0]", "model_version.signature.inputs"}


async def test_what_a_version_needs_must_be_there(replica):
    await register(replica, "shift", 1, shift(1))
    unknown = create(replica, model="shift", version="2", onnx_digest="0" * 64)
    assert (await refused(unknown))[:2] == (NOT_FOUND, "ARTIFACT_NOT_FOUND")
    digest = await upload(replica, shift(1))
    assert (await refused(create(replica, model="nobody", version="1", onnx_digest=digest)))[1] == "MODEL_NOT_FOUND"
    again = create(replica, model="shift", version="1", onnx_digest=digest)
    assert (await refused(again))[:2] == (EXISTS, "MODEL_VERSION_EXISTS")


async def test_a_repeat_returns_the_first_answer_and_other_content_is_refused(replica):
    request = reg.CreateModelRequest(request_id="r-1", model=Model(name="shift"))
    first = await replica.models.CreateModel(request, timeout=SECONDS)
    assert await replica.models.CreateModel(request, timeout=SECONDS) == first
    request.model.name = "other"
    reused = await refused(replica.models.CreateModel(request, timeout=SECONDS))
    assert reused[:2] == (EXISTS, "REQUEST_ID_REUSED")
    assert len((await replica.models.ListModels(reg.ListModelsRequest(), timeout=SECONDS)).models) == 1


async def test_only_the_stage_of_a_version_changes(replica):
    version = await register(replica, "shift", 1, shift(1))

    def update(stage=STAGE_PRODUCTION, etag="", paths=("stage",)):
        changed = ModelVersion(model="shift", version="1", stage=stage, etag=etag, class_labels=["x"])
        request = reg.UpdateModelVersionRequest(model_version=changed, update_mask=FieldMask(paths=paths))
        return replica.models.UpdateModelVersion(request, timeout=SECONDS)

    changed = (await update(etag=version.etag)).model_version
    assert changed.stage == STAGE_PRODUCTION
    assert list(changed.class_labels) == []
    assert (await refused(update(STAGE_STAGING, version.etag)))[:2] == (ABORTED, "ETAG_MISMATCH")
    assert (await refused(update(paths=("stage", "class_labels"))))[2] == {"update_mask"}
    assert (await refused(update(stage=0)))[2] == {"model_version.stage"}


async def test_a_server_must_be_named_and_addressed(replica):
    bad = Server(name="A b", address="nowhere", repository_path="models", metrics_address=":1")
    code, _, blamed = await refused(
        replica.deployments.CreateServer(dep.CreateServerRequest(server=bad), timeout=SECONDS)
    )
    assert code is INVALID
    assert blamed == {"server.name", "server.address", "server.repository_path", "server.metrics_address"}


def add_server(replica, name, address):
    asked = dep.CreateServerRequest(server=Server(name=name, address=address))
    return replica.deployments.CreateServer(asked, timeout=SECONDS)


async def test_penstock_is_no_server_of_its_own(replica):
    code, reason, blamed = await refused(add_server(replica, "zz", replica.address))
    assert (code, reason, blamed) == (INVALID, "INVALID_REQUEST", {"server.address"})


async def test_a_server_that_turns_out_to_be_penstock_is_never_ready_and_can_be_deleted(replica):
    later = grpc.aio.server()
    door = Door(NativeRoute(grpc.aio.insecure_channel("127.0.0.1:1")))
    SlowDoor(door, Questions(Catalogue(), TritonChannels())).add_to(later)
    port = later.add_insecure_port("127.0.0.1:0")
    await add_server(replica, "zz", f"127.0.0.1:{port}")
    await register(replica, "shift", 1, shift(1))
    await deploy(replica, "shift", 1)
    await later.start()

    async def said():
        (placement,) = (await deployment(replica, "shift", 1)).placements
        return placement.state == Placement.STATE_PENDING and "Penstock itself" in placement.message

    await eventually_async(said, message="the placement says why")
    asked = dep.DeleteServerRequest(name="zz")
    await replica.deployments.DeleteServer(asked, timeout=SECONDS)
    gone = dep.GetDeploymentRequest(model="shift", version="1")
    assert (await refused(replica.deployments.GetDeployment(gone, timeout=SECONDS)))[0] is NOT_FOUND
    await later.stop(None)


async def test_lists_page(replica):
    for name in ("a", "b", "c"):
        await replica.models.CreateModel(reg.CreateModelRequest(model=Model(name=name)), timeout=SECONDS)
    first = await replica.models.ListModels(reg.ListModelsRequest(page_size=2), timeout=SECONDS)
    asked = reg.ListModelsRequest(page_size=2, page_token=first.next_page_token)
    second = await replica.models.ListModels(asked, timeout=SECONDS)
    assert [model.name for model in (*first.models, *second.models)] == ["a", "b", "c"]
    assert second.next_page_token == ""
    crafted = replica.models.ListModels(reg.ListModelsRequest(page_token="crafted"), timeout=SECONDS)
    assert (await refused(crafted))[:2] == (INVALID, "INVALID_PAGE_TOKEN")


async def test_times_that_are_none_are_the_callers_fault(replica):
    none = Timestamp(seconds=2**60)
    given = {"t": Value(timestamp_value=none)}
    asked = PredictRequest(model="any", as_of=none, entities=given, features=given)
    code, reason, blamed = await refused(replica.predictions.Predict(asked, timeout=SECONDS))
    assert (code, reason) == (INVALID, "INVALID_REQUEST")
    assert blamed == {"as_of", "entities[t]", "features[t]"}
