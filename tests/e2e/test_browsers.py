"""Calls as a page makes them: gRPC-Web, binary and in base64, by the same way as any other."""

import grpc
import pytest
from tritonclient.grpc import service_pb2

from deploy.envoy.record import parse
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1 import prediction_service_pb2 as pred
from penstock.routing.v1 import routing_service_pb2 as rt
from tests.grpc_web import BINARY, TEXT, ask
from tests.models import answered_by, infer_request
from tests.polling import eventually
from tests.rest import Rest

INFER = "/inference.GRPCInferenceService/ModelInfer"
PREDICT = "/penstock.model_serving.v1.PredictionService/Predict"
LIST = "/penstock.routing.v1.RoutingService/ListRoutes"
KEY = "x-penstock-routing-key"
KINDS = (BINARY, TEXT, "application/grpc-web", "application/grpc-web-text")


@pytest.fixture(scope="module")
def rest(stack):
    return Rest(stack.address("ingress"))


def inferred(answer):
    (message,) = answer.messages
    return service_pb2.ModelInferResponse.FromString(message)


@pytest.mark.parametrize("kind", KINDS)
def test_an_inference(rest, plain, kind):
    answer = ask(rest, INFER, infer_request(plain), kind)
    assert (answer.http.status, answer.status, answered_by(inferred(answer))) == (200, 0, "1")
    assert answer.http.headers["content-type"].startswith("application/grpc-web")
    assert answer.http.headers["x-penstock-model-version"] == "1"


def test_it_is_split_and_pinned_as_any_other(rest, infer, split):
    for unit in range(12):
        key = f"page-{unit}"
        web = ask(rest, INFER, infer_request(split.model), **{KEY: key})
        native = infer(infer_request(split.model), timeout=10, metadata=[(KEY, key)])
        assert answered_by(inferred(web)) == answered_by(native)
    pinned = ask(rest, INFER, infer_request(split.model, version="2"))
    assert answered_by(inferred(pinned)) == "2"


def test_its_record_is_billed_once(rest, stack, plain):
    answer = ask(rest, INFER, infer_request(plain), x_request_id="of a page")
    request_id = answer.http.headers["x-request-id"]

    def lines():
        text = (stack.places.data("envoy") / "records.log").read_text()
        found = [parse(line) for line in text.splitlines() if request_id in line]
        return {record.hop: record for record in found} if len(found) == 2 else None

    records = eventually(lines)
    assert (records["ingress"].route, records["ingress"].reached_triton) == ("grpc-web", False)
    assert (records["mesh"].route, records["mesh"].reached_triton) == ("split", True)
    assert (records["mesh"].tenant, records["mesh"].principal, records["mesh"].model) == ("local", "local", plain)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (infer_request("nobody"), grpc.StatusCode.NOT_FOUND),
        (infer_request("plain", version="9"), grpc.StatusCode.NOT_FOUND),
        (service_pb2.ModelInferRequest(id="x"), grpc.StatusCode.INVALID_ARGUMENT),
        (infer_request("plain", name="Z"), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
def test_refusals_are_statuses(rest, plain, kind, request_, status):
    answer = ask(rest, INFER, request_, kind)
    assert (answer.http.status, answer.status) == (200, status.value[0]), answer
    assert answer.trailers["grpc-message"]


@pytest.mark.parametrize("kind", KINDS)
def test_services_answer_too(rest, plain, kind):
    answer = ask(rest, LIST, rt.ListRoutesRequest(), kind)
    routes = rt.ListRoutesResponse.FromString(answer.messages[0]).routes
    assert plain in [route.model for route in routes]


@pytest.mark.parametrize("kind", KINDS)
def test_a_refusal_of_a_service_brings_its_details(rest, kind):
    answer = ask(rest, PREDICT, pred.PredictRequest(model="nobody"), kind)
    assert answer.status == grpc.StatusCode.NOT_FOUND.value[0]
    assert "grpc-status-details-bin" in answer.trailers


def test_what_is_between_services_stays_there(rest):
    for method in (
        "/penstock.model_serving.v1.DeploymentService/WatchDeployments",
        "/penstock.cost_tracking.v1.CostTrackingService/DeliverRecords",
    ):
        assert ask(rest, method, reg.ListModelsRequest()).status == grpc.StatusCode.PERMISSION_DENIED.value[0]


@pytest.mark.parametrize(
    "kind", ["application/grpc-web+json", "application/grpc-web+proto;x=y", "application/grpc-webby"]
)
def test_another_form_is_none_and_goes_round_nothing(rest, plain, kind):
    assert ask(rest, INFER, infer_request(plain), kind).http.status == 415


def test_who_one_is_cannot_be_said(rest, stack, plain):
    forged = {"x-penstock-scope": plain, "x-penstock-chain": "2", "x-penstock-pin": "2", "x-penstock-door": "slow"}
    answer = ask(rest, INFER, infer_request(plain), x_request_id="forged", **forged)
    assert answered_by(inferred(answer)) == "1"
