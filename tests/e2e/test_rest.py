"""Predictions and reads in JSON, through the ingress, and what is told of bad ones."""

import json
from pathlib import Path

import grpc
import numpy as np
import pytest
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

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
from penstock.feature_store.v1.value_pb2 import VALUE_TYPE_DOUBLE, VALUE_TYPE_STRING
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import Route
from penstock_client import column
from tests.models import answered_by, infer_request
from tests.polling import eventually
from tests.rest import Rest
from tests.serving import await_servers, deploy

PREDICTIONS = "/v1/predictions"
KEY = "x-penstock-routing-key"
LABELS = ["on time", "late"]
TRAINED = np.array([[0, 0], [100, 10], [50, 5], [80, 9]], np.float32)
DOCUMENT = json.loads((Path(__file__).parents[2] / "gen" / "openapi.json").read_text())


@pytest.fixture(scope="module")
def rest(stack):
    return Rest(stack.address("ingress"))


@pytest.fixture(scope="module")
def fitted():
    return LogisticRegression().fit(TRAINED, [0, 1, 0, 1])


@pytest.fixture(scope="module")
def delays(penstock, fitted):
    """A classifier of two numbers: version 1 takes a tensor, version 2, which is not routed, asks the feature store."""
    plane = Entity(name="rest_plane", join_keys=[Field(name="tailnum", type=VALUE_TYPE_STRING)])
    penstock.feature_registry.CreateEntity(fr.CreateEntityRequest(entity=plane))
    stored = [Field(name="age", type=VALUE_TYPE_DOUBLE)]
    view = FeatureView(name="rest_facts", entity="rest_plane", batch=BatchSource(features=stored))
    penstock.feature_registry.CreateFeatureView(fr.CreateFeatureViewRequest(feature_view=view))
    features = [
        FeatureReference(view="rest_facts", feature="age"),
        FeatureReference(feature="distance", type=VALUE_TYPE_DOUBLE),
    ]
    made = FeatureService(name="rest_planes", features=features)
    penstock.feature_registry.CreateFeatureService(fr.CreateFeatureServiceRequest(feature_service=made))
    rows = fs.WriteFeaturesRequest(
        view="rest_facts", columns=[column("tailnum", ["N1"]), column("age", [80.0])], event_time_us=[1_000_000]
    )
    penstock.features.WriteFeatures(rows)
    penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name="rest-delays")))
    data = to_onnx(fitted, TRAINED[:1], options={id(fitted): {"zipmap": False}}, target_opset=17).SerializeToString()
    digest = penstock.models.UploadArtifact(iter([reg.UploadArtifactRequest(chunk=data)]), timeout=10).digest
    for version, service in (("1", ""), ("2", "rest_planes")):
        described = ModelVersion(
            model="rest-delays", version=version, onnx_digest=digest, class_labels=LABELS, feature_service=service
        )
        penstock.models.CreateModelVersion(reg.CreateModelVersionRequest(model_version=described))
        deploy(penstock, "rest-delays", version)
    route = Route(model="rest-delays", default_version="1")
    penstock.routing.CreateRoute(rt.CreateRouteRequest(route=route))
    await_servers(penstock, "rest-delays", 2)
    return "rest-delays"


class TestPredictions:
    def test_from_numbers(self, rest, delays, fitted):
        answer = rest.post(PREDICTIONS, {"model_id": delays, "model_version": "1", "features": {"X": [80, 9]}})
        assert answer.status == 200, answer.body
        said, expected = answer.json, fitted.predict_proba(np.array([[80, 9]], np.float32))[0]
        assert said["prediction"] == LABELS[int(np.argmax(expected))]
        assert said["probability"] == pytest.approx(max(expected), abs=1e-6)
        assert said["probabilities"] == pytest.approx(dict(zip(LABELS, expected, strict=True)), abs=1e-6)
        assert (said["model_id"], said["model_version"], said["degradations"]) == (delays, "1", [])
        assert said["latency_ms"] > 0
        assert said["request_id"] == answer.headers["x-request-id"]

    def test_by_an_entity(self, rest, delays, fitted):
        asked = {"model_id": delays, "model_version": "2", "entities": {"tailnum": "N1"}, "features": {"distance": 9}}
        said = rest.post(PREDICTIONS, asked | {"include_features": True}).json
        expected = fitted.predict_proba(np.array([[80, 9]], np.float32))[0]
        assert said["probability"] == pytest.approx(max(expected), abs=1e-6)
        assert [(f["name"], f["value"], f["status"]) for f in said["features"]] == [
            ("age", 80, "FEATURE_STATUS_PRESENT"),
            ("distance", 9, "FEATURE_STATUS_PRESENT"),
        ]

    def test_an_entity_that_nobody_knows_makes_the_answer_less(self, rest, delays):
        asked = {"model_id": delays, "model_version": "2", "entities": {"tailnum": "N4"}, "features": {"distance": 9}}
        said = rest.post(PREDICTIONS, asked | {"include_features": True}).json
        assert said["degradations"] == ["DEGRADATION_PARTIAL_FEATURES"]
        assert said["features"][0]["value"] == "NaN"

    def test_the_split_is_that_of_callers_with_tensors(self, rest, infer, split):
        for unit in range(8):
            key = f"rest-{unit}"
            native = answered_by(infer(infer_request(split.model), timeout=10, metadata=[(KEY, key)]))
            # four numbers are no prediction; the refusal comes after the route has chosen
            asked = {"model_id": split.model, "model_version": native, "features": {"X": [0, 0, 0, 0]}}
            assert rest.post(PREDICTIONS, asked, {KEY: key}).reason == "SIGNATURE_MISSING"

    def test_every_field_that_is_wrong_is_named(self, rest):
        asked = {"model": "m", "features": [1], "as_of": "yesterday"}
        answer = rest.post(PREDICTIONS, asked)
        assert (answer.status, answer.json["code"], answer.reason) == (400, 3, "INVALID_REQUEST")
        assert set(answer.fields) == {"model", "model_id", "features", "as_of"}

    def test_features_that_the_model_does_not_have(self, rest, delays):
        asked = {"model_id": delays, "model_version": "1", "features": {"X": [1], "Z": 1}}
        answer = rest.post(PREDICTIONS, asked)
        assert (answer.status, set(answer.fields)) == (400, {"features[X[1]]", "features[Z]"})

    @pytest.mark.parametrize("body", [b"", b"{", b'{"model_id": NaN}', b"\xff", b"null", b"[]", b"[" * 5000])
    def test_what_is_no_json_object(self, rest, body):
        answer = rest.post(PREDICTIONS, body)
        assert (answer.status, answer.reason, set(answer.fields)) == (400, "INVALID_REQUEST", {""})

    def test_another_content_type(self, rest):
        answer = rest.post(PREDICTIONS, {"model_id": "m"}, {"content-type": "text/plain"})
        assert (answer.status, set(answer.fields)) == (400, {"content-type"})

    @pytest.mark.parametrize(
        ("asked", "status", "reason"),
        [
            ({"model_id": "nobody"}, 404, "MODEL_NOT_FOUND"),
            ({"model_id": "rest-delays", "model_version": "9"}, 404, "MODEL_VERSION_NOT_FOUND"),
            ({"model_id": "rest-delays", "model_version": "2", "features": {"age": 1}}, 400, "INVALID_REQUEST"),
        ],
    )
    def test_refusals_of_the_service(self, rest, delays, asked, status, reason):
        answer = rest.post(PREDICTIONS, asked)
        assert (answer.status, answer.reason) == (status, reason)

    def test_a_body_that_is_too_large(self, rest):
        answer = rest.post(PREDICTIONS, {"model_id": "m", "features": {"X": "1" * (1 << 20)}})
        assert (answer.status, answer.json["code"], answer.reason) == (413, 8, "REQUEST_TOO_LARGE")

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
    def test_another_method(self, rest, method):
        answer = rest.call(method, PREDICTIONS)
        assert (answer.status, answer.headers["allow"], answer.reason) == (405, "POST", "PATH_NOT_FOUND")

    def test_the_gateways_own_headers_are_not_for_callers(self, rest, delays):
        asked = {"model_id": delays, "model_version": "1", "features": {"X": [80, 9]}}
        said = rest.post(PREDICTIONS, asked, {"x-request-id": "mine", "x-envoy-original-path": "/v2", KEY: "u"})
        assert said.status == 200
        assert said.json["request_id"] != "mine"


class TestOutages:
    def test_a_service_that_is_down_is_told_and_the_others_answer(self, rest, stack, delays):
        asked = {"model_id": delays, "model_version": "1", "features": {"X": [80, 9]}}
        with stack.held_down("model_serving"):
            for answer in (rest.post(PREDICTIONS, asked), rest.get("/v1/models")):
                assert (answer.status, answer.json["code"], answer.reason) == (503, 14, "SERVICE_UNAVAILABLE")
                assert answer.json["message"]
            assert rest.get("/v1/routes").status == 200
            assert rest.get("/openapi.json").json == DOCUMENT
            unwell = eventually(lambda: (now := rest.get("/health")).status == 503 and now, within=20)
            assert {c["name"]: c["status"] for c in unwell.json["checks"]}["service/model_serving"] == "UNHEALTHY"
        stack.wait_ready("model_serving")
        eventually(lambda: rest.post(PREDICTIONS, asked).status == 200, within=30, message="predictions are back")
        eventually(lambda: rest.get("/health").status == 200, within=30, message="all is well again")

    def test_its_calls_are_counted(self, rest, stack, delays):
        asked = {"model_id": delays, "model_version": "1", "features": {"X": [80, 9]}}
        before = counted(stack, "downstream_rq_2xx"), counted(stack, "downstream_rq_4xx")
        rest.post(PREDICTIONS, asked)
        rest.post(PREDICTIONS, {})
        after = counted(stack, "downstream_rq_2xx"), counted(stack, "downstream_rq_4xx")
        assert after == (before[0] + 1, before[1] + 1)


def counted(stack, name):
    """Of REST, as Envoy counts."""
    text = Rest(stack.address("envoy_admin")).get(f"/stats?filter=^http.rest.{name}$").body.decode()
    return int(text.split(":")[1])


class TestReads:
    @pytest.mark.parametrize(
        "path", [path for path, verbs in DOCUMENT["paths"].items() if "get" in verbs and "{" not in path]
    )
    def test_whatever_takes_no_name(self, rest, delays, path):
        answer = rest.get(path)
        assert (answer.status, type(answer.json)) == (200, dict), answer.body

    @pytest.mark.parametrize(
        ("path", "field", "value"),
        [
            ("/v1/models/rest-delays", "model", "rest-delays"),
            ("/v1/models/rest-delays/versions/1", "model_version", "1"),
            ("/v1/deployments/rest-delays/1", "deployment", "STATE_READY"),
            ("/v1/routes/rest-delays", "route", "rest-delays"),
            ("/v1/routes/rest-delays:explain?unit=u", "explanation", "rest-delays"),
            ("/v1/targets/server/a", "health", "server/a"),
            ("/v1/targets/model%2Frest-delays%2F1@a", "health", "model/rest-delays/1@a"),
            ("/v1/entities/rest_plane", "entity", "rest_plane"),
        ],
    )
    def test_one_by_name(self, rest, delays, path, field, value):
        answer = rest.get(path)
        assert answer.status == 200, answer.body
        assert value in answer.json[field].values()

    def test_pages(self, rest, delays, split):
        first = rest.get("/v1/models?page_size=1").json
        second = rest.get(f"/v1/models?page_size=1&page_token={first['next_page_token']}").json
        assert first["models"][0]["name"] < second["models"][0]["name"]

    @pytest.mark.parametrize(
        ("path", "status", "reason"),
        [
            ("/v1/models/nobody", 404, "MODEL_NOT_FOUND"),
            ("/v1/models?nonsense=1", 400, "INVALID_REQUEST"),
            ("/v1/models?page_size=many", 400, "INVALID_REQUEST"),
            ("/v1/models?page_token=x", 400, "INVALID_PAGE_TOKEN"),
            ("/v1/nothing", 404, "PATH_NOT_FOUND"),
            ("/v1/", 404, "PATH_NOT_FOUND"),
            ("/v1", 404, "PATH_NOT_FOUND"),
            ("/v1/api-keys", 404, "PATH_NOT_FOUND"),
        ],
    )
    def test_what_is_refused(self, rest, path, status, reason):
        answer = rest.get(path)
        assert (answer.status, answer.reason) == (status, reason), answer.body
        assert answer.json["message"]
        assert answer.headers["x-request-id"]

    def test_nothing_is_written(self, rest, delays):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert rest.call(method, f"/v1/routes/{delays}").reason == "PATH_NOT_FOUND"
        assert rest.get(f"/v1/routes/{delays}").status == 200

    def test_other_doors_are_as_they_were(self, rest, infer, plain):
        assert rest.get("/v2/health/live").status == 200
        assert rest.get("/nothing").status == 404
        assert answered_by(infer(infer_request(plain), timeout=10)) == "1"
        with pytest.raises(grpc.RpcError) as raised:
            infer(infer_request("nobody"), timeout=10)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND


class TestDocument:
    def test_it_is_served_as_it_stands(self, rest):
        assert rest.get("/openapi.json").json == DOCUMENT

    def test_an_answer_is_as_it_says(self, rest, delays):
        said = rest.post(PREDICTIONS, {"model_id": delays, "model_version": "1", "features": {"X": [80, 9]}}).json
        schema = DOCUMENT["components"]["schemas"]["PredictJsonResponse"]
        assert set(said) == set(schema["properties"])


class TestHealth:
    def test_one_entry_for_each_check(self, rest, delays):
        answer = rest.get("/health")
        names = [check["name"] for check in answer.json["checks"]]
        assert (answer.status, answer.json["status"]) == (200, "HEALTHY"), answer.body
        assert {"service/routing", "service/health_monitoring", "server/a", "server/b", "models"} <= set(names)
        assert answer.headers["cache-control"] == "no-store"
