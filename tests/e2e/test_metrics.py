"""docs/metrics.md says what the services expose, nothing more and nothing less; and a trace goes through the mesh."""

import secrets
import time

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Counter

from deploy.envoy.logship import metrics as of_logship
from deploy.local.parts import COMPANIONS
from deploy.local.ports import SERVICES
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as cost
from penstock.cost_tracking.v1.price_pb2 import METER_REQUEST, Price
from penstock.experimentation.v1 import experimentation_service_pb2 as exp
from penstock.experimentation.v1.analysis_pb2 import Outcome
from penstock.feature_store.v1 import feature_registry_service_pb2 as registry
from penstock.feature_store.v1 import feature_view_pb2 as fv
from penstock.feature_store.v1.feature_serving_service_pb2 import WriteFeaturesRequest
from penstock.feature_store.v1.value_pb2 import VALUE_TYPE_DOUBLE, VALUE_TYPE_STRING
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion
from penstock.model_serving.v1.prediction_service_pb2 import PredictRequest
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import Route
from penstock_client import column, value
from services.cost_tracking.servers import metrics as of_cost_tracking
from services.model_serving.servers import door as of_model_serving
from services.routing.xds import ads as of_routing
from tests.e2e.exposition import ALWAYS, exposed, listed, tables, words
from tests.models import infer_request, shift
from tests.polling import eventually
from tests.serving import await_servers, deploy, halves

PROCESSES = (*SERVICES, *COMPANIONS)
# where the families are declared that a healthy stack shows no samples of
DECLARING = (of_cost_tracking, of_logship, of_model_serving, of_routing)
MODEL = "featured"
SHIPPED_SECONDS = 30


def page(stack, process):
    return exposed(f"http://{stack.address(f'{process}_metrics')}/metrics")


def listed_of(process):
    return listed(process) | ({} if process in COMPANIONS else listed(ALWAYS))


@pytest.fixture(scope="session")
def featured(penstock):
    """A model of one number more than its feature, which is 1 for the thing `a`; its name."""
    feature = fv.Field(name="size", type=VALUE_TYPE_DOUBLE)
    thing = fv.Entity(name="thing", join_keys=[fv.Field(name="id", type=VALUE_TYPE_STRING)])
    view = fv.FeatureView(name="sizes", entity="thing", batch=fv.BatchSource(features=[feature]))
    reference = fv.FeatureReference(view="sizes", feature="size")
    service = fv.FeatureService(name="size_of_thing", features=[reference])
    penstock.feature_registry.CreateEntity(registry.CreateEntityRequest(entity=thing))
    penstock.feature_registry.CreateFeatureView(registry.CreateFeatureViewRequest(feature_view=view))
    penstock.feature_registry.CreateFeatureService(registry.CreateFeatureServiceRequest(feature_service=service))
    now_us = time.time_ns() // 1000
    rows = WriteFeaturesRequest(
        view="sizes", columns=[column("id", ["a"]), column("size", [1.0])], event_time_us=[now_us]
    )
    penstock.features.WriteFeatures(rows)
    penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name=MODEL)))
    chunks = iter([reg.UploadArtifactRequest(chunk=shift(1, width=1))])
    digest = penstock.models.UploadArtifact(chunks, timeout=10).digest
    version = ModelVersion(model=MODEL, version="1", onnx_digest=digest, feature_service=service.name)
    penstock.models.CreateModelVersion(reg.CreateModelVersionRequest(model_version=version))
    deploy(penstock, MODEL, "1")
    penstock.routing.CreateRoute(rt.CreateRouteRequest(route=Route(model=MODEL, default_version="1")))
    await_servers(penstock, MODEL, 2)
    return MODEL


def predict(penstock, *metadata):
    """The answer and the request's id."""
    request = PredictRequest(model=MODEL, entities={"id": value("a")})
    answer, call = penstock.predictions.Predict.with_call(request, metadata=metadata)
    assert answer.value == 2
    return dict(call.initial_metadata())["x-request-id"]


@pytest.fixture(scope="session")
def traffic(penstock, plain, featured, infer):
    """A little of everything: both ways to call, a price, an outcome."""
    price = Price(meter=METER_REQUEST, model=featured, nanodollars_per_unit="5", effective_from=Timestamp(seconds=1))
    penstock.costs.CreatePrice(cost.CreatePriceRequest(price=price))
    penstock.experiments.CreateExperiment(exp.CreateExperimentRequest(experiment=halves("measured", plain)))
    outcome = Outcome(experiment="measured", unit="u", outcome_id="o", positive=True, event_time=Timestamp(seconds=1))
    penstock.experiments.ReportOutcomes(exp.ReportOutcomesRequest(outcomes=[outcome]))
    infer(infer_request(plain), timeout=10)
    predict(penstock)


@pytest.mark.parametrize("process", PROCESSES)
def test_what_is_exposed_is_listed_and_what_is_listed_is_exposed(stack, process):
    found = {name: family.type for name, family in page(stack, process).items()}
    assert found == {name: family.type for name, family in listed_of(process).items()}


@pytest.mark.parametrize("process", PROCESSES)
def test_every_sample_has_the_labels_that_are_listed(stack, traffic, process):
    wanted = {name: {family.labels} for name, family in listed_of(process).items()}
    common = {name for name, family in listed_of(process).items() if not family.rare}
    eventually(
        lambda: all(page(stack, process)[name].labels for name in common),
        within=SHIPPED_SECONDS,
        message=f"every family of {process} that is not marked as rare has samples",
    )
    found = {name: family.labels for name, family in page(stack, process).items() if family.labels}
    assert found == {name: labels for name, labels in wanted.items() if name in found}


def test_families_that_count_rare_events_are_declared_with_the_labels_that_are_listed():
    rare = {name: family for process in PROCESSES for name, family in listed(process).items() if family.rare}
    declared = {
        f"{each._name}_total": frozenset(each._labelnames)
        for module in DECLARING
        for each in vars(module).values()
        if isinstance(each, Counter)
    }
    assert {name: family.labels for name, family in rare.items()} == {name: declared[name] for name in rare}


def test_envoy_exposes_its_two(stack, traffic):
    def found():
        return exposed(f"http://{stack.address('envoy_admin')}/stats/prometheus")

    common = {name: family for name, family in listed("Envoy").items() if not family.rare}
    assert len(common) == 2
    for name, family in common.items():
        there = eventually(lambda name=name: found().get(name), message=f"Envoy exposes {name}")
        assert (there.type, there.labels) == (family.type, {family.labels})


def test_names_of_the_field_are_exposed_as_the_page_says():
    here, later = tables()["Names of the field"]
    exposed_by = {name: family for process in PROCESSES for name, family in listed(process).items()}
    for row in here:
        (name,) = words(row["here"])
        assert name == words(row["name"])[0].replace(".", "_")
        assert listed(row["exposed by"])[name].labels == set(words(row["labels"]))
    assert {words(row["will be"])[0] for row in later} & exposed_by.keys() == set()
    assert [words(row["will be"])[0] for row in later] == [words(row["name"])[0].replace(".", "_") for row in later]


class TestSpans:
    @pytest.fixture
    def trace_id(self):
        return secrets.token_hex(16)

    @staticmethod
    def sampled(trace_id):
        return ("traceparent", f"00-{trace_id}-{secrets.token_hex(8)}-01")

    @pytest.fixture
    def spans(self, stack, penstock, traffic, traces, trace_id):
        """Of one Predict through the ingress, after a probe of model_serving with the same trace."""
        with grpc.insecure_channel(stack.address("model_serving")) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            check(health_pb2.HealthCheckRequest(), timeout=5, metadata=[self.sampled(trace_id)])
        self.request_id = predict(penstock, self.sampled(trace_id))
        return eventually(lambda: self.whole(traces.trace(trace_id)), message="the spans of a Predict arrive")

    @staticmethod
    def whole(spans):
        """The spans, once those are there that a Predict needs."""
        return spans if len(spans) >= 4 else None

    def test_a_prediction_is_one_trace_through_envoy_and_both_services(self, spans):
        made = {(s["localEndpoint"]["serviceName"], s["kind"], s["name"].rpartition("/")[2]): s for s in spans}
        predicted = made["model_serving", "SERVER", "Predict"]
        asked = made["model_serving", "CLIENT", "GetOnlineFeatures"]
        answered = made["feature_store", "SERVER", "GetOnlineFeatures"]
        inferred = made["model_serving", "CLIENT", "ModelInfer"]
        assert len(made) == 4
        assert asked["parentId"] == inferred["parentId"] == predicted["id"]
        assert answered["parentId"] == asked["id"]
        ids = [span["tags"]["penstock.request_id"] for span in (predicted, answered)]
        assert ids == [self.request_id] * 2

    def test_their_attributes_are_those_that_the_page_lists(self, spans):
        (rows,) = tables()["Spans"]
        wanted = {row["kind"].upper(): set(words(row["attributes"])) for row in rows}
        for span in spans:
            # what is about the process and the instrumentation, not about the call
            own = {tag for tag in span["tags"] if tag.partition(".")[0] not in {"telemetry", "service", "otel"}}
            assert own == wanted[span["kind"]]

    def test_a_trace_that_nobody_wants_recorded_is_not(self, stack, penstock, traffic, traces, trace_id):
        unwanted, wanted = secrets.token_hex(16), trace_id
        predict(penstock, ("traceparent", f"00-{unwanted}-{secrets.token_hex(8)}-00"))
        predict(penstock, self.sampled(wanted))
        eventually(lambda: self.whole(traces.trace(wanted)), message="the spans of the wanted one arrive")
        assert traces.trace(unwanted) == []
