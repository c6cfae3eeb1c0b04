"""Bad input through the ingress: a clear status each time, the mesh undisturbed."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status
from tritonclient.grpc import service_pb2, service_pb2_grpc

from libs.assignment import Range, bucket, owner
from libs.statuses import reason_of
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as cost
from penstock.cost_tracking.v1.price_pb2 import METER_REQUEST, Price
from penstock.experimentation.v1 import experimentation_service_pb2 as exp
from penstock.experimentation.v1.analysis_pb2 import Outcome
from penstock.experimentation.v1.experiment_pb2 import Experiment, Variant
from penstock.feature_store.v1.feature_serving_service_pb2 import GetOnlineFeaturesRequest
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.model_pb2 import Model
from penstock.model_serving.v1.prediction_service_pb2 import PredictRequest
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import Route
from penstock_client import column, value
from tests.models import answered_by, infer_request
from tests.polling import eventually
from tests.serving import halves

KEY = "x-penstock-routing-key"
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


def refused(call, request, **more):
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=10, **more)
    return raised.value


def owned(allocation):
    return [Range(r.start, r.end, r.variant, r.version) for r in allocation.ranges]


def fields(error):
    """The fields that the error blames."""
    found = set()
    for detail in rpc_status.from_call(error).details:
        bad = BadRequest()
        if detail.Unpack(bad):
            found |= {violation.field for violation in bad.field_violations}
    return found


@pytest.fixture
def raw(stack):
    """ModelInfer with the bytes of the message as they are."""
    with grpc.insecure_channel(stack.address("ingress"), options=[("grpc.enable_retries", 0)]) as channel:
        yield channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            response_deserializer=service_pb2.ModelInferResponse.FromString,
        )


class TestInference:
    def test_unknown_model(self, infer):
        error = refused(infer, infer_request("nobody"))
        assert error.code() is NOT_FOUND
        assert "nobody" in error.details()

    def test_unknown_pinned_version(self, infer, plain):
        error = refused(infer, infer_request(plain, version="77"))
        assert error.code() is NOT_FOUND
        assert "77" in error.details()

    def test_a_pinned_version_is_outside_every_experiment(self, infer, split):
        response, call = infer.with_call(infer_request("split", version="2"), timeout=10, metadata=[(KEY, "u")])
        assert answered_by(response) == "2"
        assert "x-penstock-experiment" not in dict(call.initial_metadata())

    def test_model_name_last(self, raw, split):
        body = infer_request("split")
        body.ClearField("model_name")
        named = service_pb2.ModelInferRequest(model_name="split")
        message = body.SerializeToString() + named.SerializeToString()
        _, call = raw.with_call(message, timeout=10, metadata=[(KEY, "unit-1")])
        assert dict(call.initial_metadata())["x-penstock-model-version"] in {"1", "2", "3"}

    def test_model_name_twice_the_last_wins(self, raw, plain, split):
        named = service_pb2.ModelInferRequest(model_name="nobody")
        response = raw(named.SerializeToString() + infer_request(plain).SerializeToString(), timeout=10)
        assert response.model_name == plain
        response = refused(raw, infer_request(plain).SerializeToString() + named.SerializeToString())
        assert response.code() is NOT_FOUND

    def test_no_model_name(self, infer):
        assert refused(infer, infer_request("")).code() is INVALID

    def test_garbage(self, raw):
        assert refused(raw, b"\xff\xff\xff\xff").code() is INVALID

    @pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
    def test_a_compressed_message_is_served_by_the_same_policy(self, infer, split, penstock, compression):
        request = infer_request("split")
        request.id = "x" * 2000  # so that compressing it is worth while
        for unit in ("unit-1", "unit-2", "unit-3"):
            response, call = infer.with_call(request, timeout=10, metadata=[(KEY, unit)], compression=compression)
            native, _ = infer.with_call(infer_request("split"), timeout=10, metadata=[(KEY, unit)])
            assert answered_by(response) == answered_by(native)
            assert "x-penstock-model-version" in dict(call.initial_metadata())

    def test_an_empty_routing_key_is_none(self, infer, split):
        _, call = infer.with_call(infer_request("split"), timeout=10, metadata=[(KEY, "")])
        assert dict(call.initial_metadata())["x-penstock-model-version"]

    def test_a_repeated_routing_key_is_refused(self, infer, split):
        error = refused(infer, infer_request("split"), metadata=[(KEY, "a"), (KEY, "b")])
        assert error.code() is INVALID
        assert "routing" in error.details()

    def test_a_routing_key_of_5000_bytes_is_refused(self, infer, split):
        error = refused(infer, infer_request("split"), metadata=[(KEY, "k" * 5000)])
        assert error.code() is INVALID
        assert "routing" in error.details()

    @pytest.mark.parametrize(
        "wrong",
        [
            infer_request("plain", name="Z"),
            infer_request("plain", width=5),
            infer_request("plain", datatype="INT64"),
        ],
        ids=["name", "shape", "type"],
    )
    def test_a_wrong_tensor_gets_tritons_own_answer(self, infer, plain, stack, wrong):
        through = refused(infer, wrong)
        direct_request = service_pb2.ModelInferRequest()
        direct_request.CopyFrom(wrong)
        direct_request.model_version = "1"
        with grpc.insecure_channel(stack.address("triton_a_grpc")) as channel:
            direct = refused(service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer, direct_request)
        assert (through.code(), through.details()) == (direct.code(), direct.details())

    def test_what_a_client_may_not_set_is_replaced(self, infer, plain):
        metadata = [("x-penstock-tenant", "somebody-else"), ("x-request-id", "mine"), ("x-penstock-chain", "2,2")]
        response, call = infer.with_call(infer_request(plain), timeout=10, metadata=metadata)
        assert answered_by(response) == "1"
        assert dict(call.initial_metadata())["x-request-id"] != "mine"


class TestOurServices:
    def test_predict_an_unknown_model(self, penstock):
        error = refused(penstock.predictions.Predict, PredictRequest(model="nobody"))
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "MODEL_NOT_FOUND")

    def test_predict_an_unknown_version(self, penstock, plain):
        error = refused(penstock.predictions.Predict, PredictRequest(model=plain, version="77"))
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "MODEL_VERSION_NOT_FOUND")

    def test_predict_with_an_unknown_feature(self, penstock, plain):
        request = PredictRequest(model=plain, features={"colour": value(1.0)})
        error = refused(penstock.predictions.Predict, request)
        assert error.code() is INVALID
        assert any("colour" in field for field in fields(error))

    def test_an_unknown_feature_service(self, penstock):
        request = GetOnlineFeaturesRequest(feature_service="nobody", entities=[column("k", ["a"])])
        error = refused(penstock.features.GetOnlineFeatures, request)
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "FEATURE_SERVICE_NOT_FOUND")

    def test_every_fault_of_a_route_at_once(self, penstock):
        route = Route(
            model="a b", default_version="x", fallback_versions=["1", "1"], timeout=Duration(seconds=-1), max_retries=99
        )
        error = refused(penstock.routing.CreateRoute, rt.CreateRouteRequest(route=route))
        assert error.code() is INVALID
        assert len(fields(error)) >= 4

    def test_an_allocation_that_exceeds_the_layer(self, penstock):
        made = Experiment(
            name="too-much",
            model="split",
            variants=[Variant(name="a", version="1", weight=6000), Variant(name="b", version="2", weight=6000)],
        )
        error = refused(penstock.experiments.CreateExperiment, exp.CreateExperimentRequest(experiment=made))
        assert error.code() is INVALID
        assert "12000, more than 10000" in error.details()
        error = refused(penstock.experiments.GetExperiment, exp.GetExperimentRequest(name="too-much"))
        assert reason_of(error) == "EXPERIMENT_NOT_FOUND"

    def test_an_allocation_that_overlaps(self, penstock, split):
        penstock.experiments.CreateExperiment(exp.CreateExperimentRequest(experiment=halves("overlapping", "split")))
        error = refused(penstock.experiments.StartExperiment, exp.StartExperimentRequest(name="overlapping"))
        assert reason_of(error) == "ALLOCATION_OVERLAP"
        there = penstock.experiments.GetExperiment(exp.GetExperimentRequest(name="overlapping")).experiment
        assert there.state == Experiment.STATE_DRAFT

    def test_a_price_that_overlaps(self, penstock):
        price = Price(
            meter=METER_REQUEST, model="priced", nanodollars_per_unit="5", effective_from=Timestamp(seconds=1_000_000)
        )
        penstock.costs.CreatePrice(cost.CreatePriceRequest(price=price))
        before = penstock.costs.ListPrices(cost.ListPricesRequest(page_size=1000)).prices
        assert [found.model for found in before].count("priced") == 1
        price.effective_from.seconds += 60
        error = refused(penstock.costs.CreatePrice, cost.CreatePriceRequest(price=price))
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.ALREADY_EXISTS, "PRICE_OVERLAP")
        assert penstock.costs.ListPrices(cost.ListPricesRequest(page_size=1000)).prices == before

    def test_an_outcome_for_an_unknown_experiment_and_nothing_half_written(self, penstock, split):
        def outcome(experiment, name):
            return Outcome(
                experiment=experiment, unit="u", outcome_id=name, positive=True, event_time=Timestamp(seconds=1)
            )

        both = [outcome("split-halves", "half"), outcome("nobody", "other")]
        error = refused(penstock.experiments.ReportOutcomes, exp.ReportOutcomesRequest(outcomes=both))
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "EXPERIMENT_NOT_FOUND")
        again = penstock.experiments.ReportOutcomes(exp.ReportOutcomesRequest(outcomes=both[:1]))
        assert again.accepted == 1

    def test_an_outcome_waits_for_its_exposure(self, penstock, split, infer):
        def waiting():
            asked = exp.AnalyzeExperimentRequest(name="split-halves")
            return penstock.experiments.AnalyzeExperiment(asked).analysis.waiting_outcomes

        before = waiting()
        early = Outcome(
            experiment="split-halves",
            unit=next(u for u in map(str, range(100)) if owner(owned(split), bucket(u, split.salt))),
            outcome_id="early",
            positive=True,
            event_time=Timestamp(seconds=1),
        )
        answer = penstock.experiments.ReportOutcomes(exp.ReportOutcomesRequest(outcomes=[early]))
        assert (answer.accepted, answer.waiting) == (1, 1)
        assert waiting() == before + 1
        unit = early.unit
        infer(infer_request("split"), timeout=10, metadata=[(KEY, unit)])
        eventually(lambda: waiting() == before, within=30, message="the outcome is joined once its unit is served")

    def test_a_mutation_id_with_other_content(self, penstock):
        first = reg.CreateModelRequest(request_id="e2e-once", model=Model(name="once"))
        assert penstock.models.CreateModel(first) == penstock.models.CreateModel(first)
        other = reg.CreateModelRequest(request_id="e2e-once", model=Model(name="twice"))
        error = refused(penstock.models.CreateModel, other)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        assert refused(penstock.models.GetModel, reg.GetModelRequest(name="twice")).code() is NOT_FOUND
