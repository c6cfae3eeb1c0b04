"""Predict and the slow door, through the ingress of a whole stack."""

import math
import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression
from tritonclient.grpc import service_pb2, service_pb2_grpc

from libs.statuses import reason_of
from penstock.feature_store.v1 import feature_registry_service_pb2 as fr
from penstock.feature_store.v1 import feature_serving_service_pb2 as fs
from penstock.feature_store.v1.feature_view_pb2 import (
    BatchSource,
    Entity,
    FeatureReference,
    FeatureService,
    FeatureView,
    Field,
)
from penstock.feature_store.v1.value_pb2 import (
    FEATURE_STATUS_NOT_FOUND,
    FEATURE_STATUS_PRESENT,
    VALUE_TYPE_DOUBLE,
    VALUE_TYPE_INT64,
    VALUE_TYPE_STRING,
)
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion
from penstock.model_serving.v1.prediction_service_pb2 import DEGRADATION_PARTIAL_FEATURES, PredictRequest
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import Route
from penstock_client import Penstock, column, value
from tests.models import answered_by, infer_request
from tests.serving import await_servers, deploy, halves, register_shift, serve_shift, start_experiment

SECONDS = 10
KEY = "x-penstock-routing-key"
TRAINED = np.array([[0, 0, 0], [100, 1, 10], [50, 0, 5], [80, 1, 9]], np.float32)


@pytest.fixture(scope="module")
def penstock(stack):
    with Penstock(stack.address("ingress")) as client:
        yield client


@pytest.fixture(scope="module")
def native(stack):
    """The Open Inference Protocol through the ingress; nothing is retried."""
    with grpc.insecure_channel(stack.address("ingress"), options=[("grpc.enable_retries", 0)]) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@pytest.fixture(scope="module")
def fitted():
    return LogisticRegression().fit(TRAINED, [0, 1, 0, 1])


@pytest.fixture(scope="module")
def delays(penstock, fitted):
    """A classifier behind the feature service `planes`: seats and age are stored, distance is asked of the caller."""
    plane = Entity(name="plane", join_keys=[Field(name="tailnum", type=VALUE_TYPE_STRING)])
    penstock.feature_registry.CreateEntity(fr.CreateEntityRequest(entity=plane))
    stored = [Field(name="seats", type=VALUE_TYPE_INT64), Field(name="age", type=VALUE_TYPE_DOUBLE)]
    view = FeatureView(name="plane_facts", entity="plane", batch=BatchSource(features=stored))
    penstock.feature_registry.CreateFeatureView(fr.CreateFeatureViewRequest(feature_view=view))
    features = [FeatureReference(view="plane_facts", feature=name) for name in ("seats", "age")]
    features.append(FeatureReference(feature="distance", type=VALUE_TYPE_DOUBLE))
    made = FeatureService(name="planes", features=features)
    penstock.feature_registry.CreateFeatureService(fr.CreateFeatureServiceRequest(feature_service=made))
    columns = [column("tailnum", ["N1"]), column("seats", [80]), column("age", [1.0])]
    rows = fs.WriteFeaturesRequest(view="plane_facts", columns=columns, event_time_us=[1_000_000])
    penstock.features.WriteFeatures(rows)
    options = {id(fitted): {"zipmap": False}}
    data = to_onnx(fitted, TRAINED[:1], options=options, target_opset=17).SerializeToString()
    digest = penstock.models.UploadArtifact(iter([reg.UploadArtifactRequest(chunk=data)]), timeout=SECONDS).digest
    penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name="delays")))
    version = ModelVersion(
        model="delays", version="1", onnx_digest=digest, feature_service="planes", class_labels=["on time", "late"]
    )
    penstock.models.CreateModelVersion(reg.CreateModelVersionRequest(model_version=version))
    deploy(penstock, "delays", "1")
    penstock.routing.CreateRoute(rt.CreateRouteRequest(route=Route(model="delays", default_version="1")))
    await_servers(penstock, "delays", 2)
    return "delays"


@pytest.fixture(scope="module")
def tried(penstock):
    """Versions 1 and 2 of `tried`, half of all units each."""
    serve_shift(penstock, "tried", [1, 2])
    start_experiment(penstock, halves("tried-halves", "tried"))
    return "tried"


def predict(penstock, model, metadata=(), entities=(), features=(), **more):
    asked = PredictRequest(
        model=model,
        entities={name: value(given) for name, given in dict(entities).items()},
        features={name: value(given) for name, given in dict(features).items()},
        **more,
    )
    return penstock.predictions.Predict(asked, timeout=SECONDS, metadata=list(metadata))


def refused(call, *args, **more):
    with pytest.raises(grpc.RpcError) as raised:
        call(*args, **more)
    return raised.value


def blamed(error):
    found = set()
    for detail in rpc_status.from_call(error).details:
        bad = BadRequest()
        if detail.Unpack(bad):
            found |= {violation.field for violation in bad.field_violations}
    return found


class TestPredict:
    def test_by_entity_and_request_feature(self, penstock, delays, fitted):
        said = predict(penstock, delays, entities={"tailnum": "N1"}, features={"distance": 9}, include_features=True)
        expected = fitted.predict_proba(np.array([[80, 1, 9]], np.float32))[0]
        assert said.label == ["on time", "late"][int(np.argmax(expected))]
        assert list(said.probabilities) == pytest.approx(expected, abs=1e-6)
        assert list(said.class_labels) == ["on time", "late"]
        assert (said.model, said.version, list(said.degradations)) == ("delays", "1", [])
        served = [(f.name, f.status, f.value, f.event_time.seconds) for f in said.features]
        present = FEATURE_STATUS_PRESENT
        assert served == [("seats", present, 80, 1), ("age", present, 1, 1), ("distance", present, 9, 0)]
        assert [stage.stage for stage in said.stages] == ["features", "tensor", "inference", "answer"]
        took = sum(stage.duration.ToMicroseconds() for stage in said.stages)
        assert 0 < took <= said.latency.ToMicroseconds() + len(said.stages)
        assert said.request_id

    def test_an_unknown_entity_is_missing_features_not_an_error(self, penstock, delays):
        said = predict(penstock, delays, entities={"tailnum": "N404"}, features={"distance": 9}, include_features=True)
        assert list(said.degradations) == [DEGRADATION_PARTIAL_FEATURES]
        missing = FEATURE_STATUS_NOT_FOUND
        assert [f.status for f in said.features] == [missing, missing, FEATURE_STATUS_PRESENT]
        assert [math.isnan(f.value) for f in said.features] == [True, True, False]

    def test_a_stored_feature_is_overridden(self, penstock, delays):
        given = {"distance": 9, "seats": "5"}
        said = predict(penstock, delays, entities={"tailnum": "N1"}, features=given, include_features=True)
        assert [f.value for f in said.features] == [5, 1, 9]

    def test_as_of_a_time_before_the_row_was_true(self, penstock, delays):
        asked = {"entities": {"tailnum": "N1"}, "features": {"distance": 9}}
        said = predict(penstock, delays, as_of=Timestamp(seconds=0, nanos=1000), **asked)
        assert [f.status for f in said.features][:2] == [FEATURE_STATUS_NOT_FOUND] * 2

    def test_without_entities_when_every_feature_is_given(self, penstock, delays):
        said = predict(penstock, delays, features={"seats": 80, "age": 1, "distance": 9})
        assert [f.status for f in said.features] == [FEATURE_STATUS_PRESENT] * 3

    def test_every_unknown_and_missing_name_at_once(self, penstock, delays):
        error = refused(predict, penstock, delays, entities={"airport": "JFK"}, features={"colour": 1})
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert blamed(error) == {
            "entities[airport]",
            "entities[tailnum]",
            "features[colour]",
            "features[distance]",
        }

    def test_a_split_is_the_native_routes(self, penstock, native, tried):
        elements = {f"X[{i}]": 0.0 for i in range(4)}
        asked = PredictRequest(model=tried, features={name: value(x) for name, x in elements.items()})
        for unit in range(12):
            metadata = [(KEY, f"unit-{unit}")]
            version = answered_by(native.ModelInfer(infer_request(tried), timeout=SECONDS, metadata=metadata))
            # four numbers are neither a class nor a value: the answer's reading fails, after the route has chosen
            error = refused(penstock.predictions.Predict, asked, timeout=SECONDS, metadata=metadata)
            assert reason_of(error) == "SIGNATURE_MISSING"
            pinned = PredictRequest(model=tried, version=version, features=asked.features)
            assert "Y FP32 [1, 4]" in refused(penstock.predictions.Predict, pinned, timeout=SECONDS).details()

    def test_a_routing_key_that_the_mesh_refuses(self, penstock, delays):
        asked = {"features": {"seats": 80, "age": 1, "distance": 9}}
        error = refused(predict, penstock, delays, metadata=[(KEY, "k" * 5000)], **asked)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
        assert "routing" in error.details()

    def test_a_model_without_a_route(self, penstock):
        penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name="unrouted")))
        error = refused(predict, penstock, "unrouted")
        assert reason_of(error) == "DEPLOYMENT_NOT_FOUND"
        register_shift(penstock, "unrouted", 1)
        deploy(penstock, "unrouted", "1")
        error = refused(predict, penstock, "unrouted", features={f"X[{i}]": 0.0 for i in range(4)})
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "ROUTE_NOT_FOUND")

    def test_an_unknown_model_and_version(self, penstock, delays):
        assert reason_of(refused(predict, penstock, "nobody")) == "MODEL_NOT_FOUND"
        assert reason_of(refused(predict, penstock, delays, version="9")) == "MODEL_VERSION_NOT_FOUND"


class TestSlowDoor:
    @pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
    def test_a_compressed_message_is_split_alike(self, native, tried, compression):
        request = infer_request(tried)
        request.id = "x" * 2000
        for unit in range(8):
            metadata = [(KEY, f"unit-{unit}")]
            slow, call = native.ModelInfer.with_call(
                request, timeout=SECONDS, metadata=metadata, compression=compression
            )
            fast, straight = native.ModelInfer.with_call(request, timeout=SECONDS, metadata=metadata)
            assert slow == fast
            headers, expected = dict(call.initial_metadata()), dict(straight.initial_metadata())
            assert headers["x-penstock-slow-door"] == "1"
            for name in ("x-penstock-model-version", "x-penstock-variant", "x-penstock-experiment"):
                assert headers[name] == expected[name]

    def test_a_servers_refusal_keeps_its_code_and_text(self, native, tried):
        request = infer_request(tried, name="Z")
        request.id = "x" * 2000
        slow = refused(native.ModelInfer, request, timeout=SECONDS, compression=grpc.Compression.Gzip)
        fast = refused(native.ModelInfer, request, timeout=SECONDS)
        assert (slow.code(), slow.details()) == (fast.code(), fast.details())
        assert "x-penstock-model-version" in dict(slow.trailing_metadata())

    def test_without_a_model_name(self, native):
        request = service_pb2.ModelInferRequest(id="x" * 2000)
        error = refused(native.ModelInfer, request, timeout=SECONDS, compression=grpc.Compression.Gzip)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT

    def test_a_stream_answers_in_order_and_goes_on_after_a_failure(self, stack, tried):
        answers = queue.Queue()
        with triton.InferenceServerClient(stack.address("ingress")) as client:
            client.start_stream(lambda result, error: answers.put((result, error)), headers={KEY: "unit-1"})
            for model in (tried, "nobody", tried):
                tensor = triton.InferInput("X", [1, 4], "FP32")
                tensor.set_data_from_numpy(np.zeros((1, 4), np.float32))
                client.async_stream_infer(model, [tensor])
            first, failed, third = (answers.get(timeout=SECONDS) for _ in range(3))
            client.stop_stream()
        assert first[1] is None
        assert "nobody" in failed[1].message()
        assert first[0].as_numpy("Y").tolist() == third[0].as_numpy("Y").tolist()

    def test_what_is_asked_about_models(self, stack, native, tried):
        with triton.InferenceServerClient(stack.address("ingress")) as client:
            assert client.is_server_live()
            assert client.is_server_ready()
            assert client.get_server_metadata().name == "penstock"
            assert client.is_model_ready(tried)
            assert client.is_model_ready(tried, "2")
            assert not client.is_model_ready(tried, "3")
            assert not client.is_model_ready("nobody")
            assert client.get_model_metadata(tried).inputs[0].name == "X"
            assert client.get_model_config(tried, "1").config.max_batch_size == 64
            listed = {(entry.name, entry.version): entry.state for entry in client.get_model_repository_index().models}
            assert listed[tried, "1"] == listed[tried, "2"] == "READY"
            unknown = refused(native.ModelMetadata, service_pb2.ModelMetadataRequest(name="nobody"), timeout=SECONDS)
            assert unknown.code() is grpc.StatusCode.NOT_FOUND

    def test_statistics_are_those_of_all_servers(self, stack, native, tried):
        def counted():
            asked = service_pb2.ModelStatisticsRequest(name=tried, version="1")
            (found,) = native.ModelStatistics(asked, timeout=SECONDS).model_stats
            return found.inference_stats.success.count

        before = counted()
        for _ in range(6):
            native.ModelInfer(infer_request(tried, version="1"), timeout=SECONDS)
        assert counted() == before + 6

    def test_what_only_one_server_can_do_is_not_offered(self, native):
        load = service_pb2.RepositoryModelLoadRequest(model_name="x")
        error = refused(native.RepositoryModelLoad, load, timeout=SECONDS)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "DeploymentService" in error.details()
        shared = refused(
            native.SystemSharedMemoryStatus, service_pb2.SystemSharedMemoryStatusRequest(), timeout=SECONDS
        )
        assert shared.code() is grpc.StatusCode.UNIMPLEMENTED
