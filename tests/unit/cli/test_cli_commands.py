"""Each command asks for what was meant and shows what came back."""

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as cost
from penstock.cost_tracking.v1.price_pb2 import METER_COMPUTE_SECOND, Price
from penstock.cost_tracking.v1.spend_pb2 import (
    DIMENSION_TENANT,
    DIMENSION_VERSION,
    CounterReading,
    Reconciliation,
    SpendRow,
)
from penstock.experimentation.v1 import experimentation_service_pb2 as exp
from penstock.experimentation.v1.analysis_pb2 import Analysis, VariantAnalysis
from penstock.experimentation.v1.experiment_pb2 import Experiment
from penstock.feature_store.v1.value_pb2 import FEATURE_STATUS_TOO_OLD
from penstock.health_monitoring.v1 import health_monitoring_service_pb2 as hm
from penstock.health_monitoring.v1.health_pb2 import HEALTH_STATE_UNKNOWN, TargetHealth
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1 import prediction_service_pb2 as pred
from penstock.model_serving.v1.deployment_pb2 import Deployment, Placement
from penstock.model_serving.v1.model_pb2 import STAGE_STAGING, Model, ModelVersion, Signature, TensorSpec
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.explanation_pb2 import REASON_EXPERIMENT, Endpoint, Explanation
from penstock.routing.v1.route_pb2 import LOAD_BALANCING_LEAST_REQUEST, Route
from penstock.routing.v1.selection_pb2 import METHOD_RING, Failover, Selection


def test_the_version(penstock, capsys):
    penstock("--version").printed()
    assert capsys.readouterr().out.startswith("penstock 0.")


def test_route_create_sends_what_was_named(penstock):
    running = penstock(
        "route", "create", "m", "--version", "2", "--fallback", "1", "--balance", "least-request", "--timeout", "2.5"
    )
    sent = running.answer("RoutingService", "CreateRoute", rt.CreateRouteResponse(route=Route(model="m")))
    assert sent.route.default_version == "2"
    assert list(sent.route.fallback_versions) == ["1"]
    assert sent.route.load_balancing == LOAD_BALANCING_LEAST_REQUEST
    assert sent.route.timeout.ToMilliseconds() == 2500
    assert not sent.route.HasField("max_retries")
    assert "m" in running.printed()


def test_route_update_names_only_what_changes(penstock):
    running = penstock("route", "update", "m", "--retries", "0")
    sent = running.answer("RoutingService", "UpdateRoute", rt.UpdateRouteResponse(route=Route(model="m")))
    assert list(sent.update_mask.paths) == ["max_retries"]
    assert sent.route.HasField("max_retries")
    running.printed()


def test_a_list_is_shown_page_after_page(penstock):
    running = penstock("route", "list")
    first = rt.ListRoutesResponse(routes=[Route(model="one")], next_page_token="more")
    assert running.answer("RoutingService", "ListRoutes", first).page_token == ""
    last = rt.ListRoutesResponse(routes=[Route(model="two")])
    assert running.answer("RoutingService", "ListRoutes", last).page_token == "more"
    printed = running.printed()
    assert "one" in printed
    assert "two" in printed


def test_an_empty_list_says_what_to_do(penstock):
    running = penstock("model", "list")
    running.answer("ModelRegistryService", "ListModels", reg.ListModelsResponse())
    assert "penstock model register" in running.printed()


def test_registering_an_external_version_takes_the_next_number(penstock):
    running = penstock("model", "register", "m", "--external", "--stage", "staging")
    running.answer("ModelRegistryService", "CreateModel", reg.CreateModelResponse(model=Model(name="m")))
    there = [ModelVersion(model="m", version="9"), ModelVersion(model="m", version="10")]
    running.answer("ModelRegistryService", "ListModelVersions", reg.ListModelVersionsResponse(model_versions=there))
    tensor = TensorSpec(name="x", datatype="FP32", shape=[4])
    stored = ModelVersion(model="m", version="11", signature=Signature(inputs=[tensor], outputs=[tensor]))
    sent = running.answer(
        "ModelRegistryService", "CreateModelVersion", reg.CreateModelVersionResponse(model_version=stored)
    )
    assert (sent.model_version.version, sent.model_version.external) == ("11", True)
    assert sent.model_version.stage == STAGE_STAGING
    assert "x FP32[4] -> x FP32[4]" in running.printed()


def test_registering_a_file_uploads_it_first(penstock, tmp_path):
    (file := tmp_path / "m.onnx").write_bytes(b"onnx")
    running = penstock("model", "register", "m", str(file), "--version", "3", "--label", "no", "--label", "yes")
    uploaded = running.answer_upload("ModelRegistryService", "UploadArtifact", reg.UploadArtifactResponse(digest="d"))
    assert uploaded.chunk == b"onnx"
    running.answer("ModelRegistryService", "CreateModel", reg.CreateModelResponse())
    stored = reg.CreateModelVersionResponse(model_version=ModelVersion(model="m", version="3"))
    sent = running.answer("ModelRegistryService", "CreateModelVersion", stored).model_version
    assert (sent.WhichOneof("artifact"), sent.onnx_digest, sent.version) == ("onnx_digest", "d", "3")
    assert list(sent.class_labels) == ["no", "yes"]
    running.printed()


def test_a_file_that_is_refused_leaves_no_model_behind(penstock, tmp_path, capsys):
    (file := tmp_path / "words.onnx").write_text("no model")
    running = penstock("model", "register", "m", str(file))
    faults = [("", "not an ONNX file")]
    running.refuse(
        "ModelRegistryService", "UploadArtifact", grpc.StatusCode.INVALID_ARGUMENT, "no", "ARTIFACT_INVALID", faults
    )
    # nothing else was called: a call that nobody answers would not have ended
    assert running.failed() == 1
    assert "  not an ONNX file\n" in capsys.readouterr().err


def test_registering_with_serve_deploys_and_routes(penstock):
    running = penstock("model", "register", "m", "--external", "--version", "7", "--serve", "--server", "mine")
    running.answer("ModelRegistryService", "CreateModel", reg.CreateModelResponse())
    stored = reg.CreateModelVersionResponse(model_version=ModelVersion(model="m", version="7"))
    running.answer("ModelRegistryService", "CreateModelVersion", stored)
    ready = Deployment(model="m", version="7", state=Deployment.STATE_READY)
    sent = running.answer("DeploymentService", "CreateDeployment", dep.CreateDeploymentResponse(deployment=ready))
    assert list(sent.deployment.servers) == ["mine"]
    running.refuse("RoutingService", "CreateRoute", grpc.StatusCode.ALREADY_EXISTS, "there is one", "ROUTE_EXISTS")
    assert "penstock route update m --version 7" in running.printed()


def registering(penstock):
    """As far as the version is registered."""
    running = penstock("model", "register", "m", "--external", "--version", "7", "--serve", "--server", "mine")
    running.answer("ModelRegistryService", "CreateModel", reg.CreateModelResponse())
    stored = ModelVersion(model="m", version="7", external=True)
    answer = reg.CreateModelVersionResponse(model_version=stored)
    running.answer("ModelRegistryService", "CreateModelVersion", answer)
    return running


def test_serving_that_is_refused_says_what_remains(penstock, capsys):
    running = registering(penstock)
    refusal = (grpc.StatusCode.NOT_FOUND, "no server 'mine'", "SERVER_NOT_FOUND")
    running.refuse("DeploymentService", "CreateDeployment", *refusal)
    assert running.failed() == 1
    said = capsys.readouterr().err
    assert "no server 'mine'" in said
    assert "m version 7 stays registered" in said
    assert "`penstock deploy create m 7 --server mine`, then `penstock route create m --version 7`" in said
    assert "its signature will be read from the server" in running._printed.getvalue()


def test_serving_that_fails_says_what_remains(penstock, capsys):
    running = registering(penstock)
    failed = Deployment(model="m", version="7", state=Deployment.STATE_FAILED)
    running.answer("DeploymentService", "CreateDeployment", dep.CreateDeploymentResponse(deployment=failed))
    assert running.failed() == 1
    assert "m version 7 stays registered. Once ready: `penstock route create m --version 7`" in capsys.readouterr().err


def test_a_route_that_is_refused_says_what_remains(penstock, capsys):
    running = registering(penstock)
    ready = Deployment(model="m", version="7", state=Deployment.STATE_READY)
    running.answer("DeploymentService", "CreateDeployment", dep.CreateDeploymentResponse(deployment=ready))
    running.refuse("RoutingService", "CreateRoute", grpc.StatusCode.UNAVAILABLE, "no")
    assert running.failed() == 1
    said = capsys.readouterr().err
    assert "It is deployed. To route calls to it: `penstock route create m --version 7`" in said


def test_deploying_waits_until_every_server_is_ready(penstock):
    running = penstock("deploy", "create", "m", "1")
    pending = Deployment(model="m", version="1", state=Deployment.STATE_PENDING)
    running.answer("DeploymentService", "CreateDeployment", dep.CreateDeploymentResponse(deployment=pending))
    ready = Deployment(
        model="m",
        version="1",
        state=Deployment.STATE_READY,
        placements=[Placement(server="a", state=Placement.STATE_READY)],
    )
    running.answer("DeploymentService", "GetDeployment", dep.GetDeploymentResponse(deployment=ready))
    assert "a READY" in running.printed()


def test_a_failed_deployment_shows_the_servers_words(penstock, capsys):
    running = penstock("deploy", "create", "m", "1")
    failed = Deployment(
        model="m",
        version="1",
        state=Deployment.STATE_FAILED,
        placements=[Placement(server="a", state=Placement.STATE_FAILED, message="no such operator")],
    )
    running.answer("DeploymentService", "CreateDeployment", dep.CreateDeploymentResponse(deployment=failed))
    assert running.failed() == 1
    assert "penstock deploy list" in capsys.readouterr().err


def test_predict_types_its_values_and_sends_the_routing_key(penstock):
    running = penstock(
        "predict", "m", "-e", "tailnum=N1", "-f", "n=5", "-f", "x=2.5", "-f", 's="5"', "-f", "t=2013-03-08T17:05:00Z"
    )
    answer = pred.PredictResponse(
        label="late",
        class_labels=["on time", "late"],
        probabilities=[0.25, 0.75],
        model="m",
        version="2",
        experiment="e",
        variant="v",
        degradations=[pred.DEGRADATION_PARTIAL_FEATURES],
        features=[pred.ServedFeature(name="temp", status=FEATURE_STATUS_TOO_OLD, value=float("nan"))],
        latency=Duration(nanos=4_200_000),
    )
    sent = running.answer("PredictionService", "Predict", answer)
    assert sent.entities["tailnum"].string_value == "N1"
    assert sent.features["n"].int64_value == 5
    assert sent.features["x"].double_value == 2.5
    assert sent.features["s"].string_value == "5"
    assert sent.features["t"].timestamp_value.ToJsonString() == "2013-03-08T17:05:00Z"
    printed = running.printed()
    assert "late (on time 0.2500, late 0.7500) by m version 2 as v of e in 4.2 ms; partial-features" in printed
    assert "too old" in printed


def test_predict_sends_the_routing_key_as_metadata(penstock):
    running = penstock("predict", "m", "--key", "N1")
    metadata = running.metadata("PredictionService", "Predict", pred.PredictResponse(value=1.5, model="m", version="1"))
    assert metadata["x-penstock-routing-key"] == "N1"
    assert running.printed().startswith("1.5 by m version 1")


def test_explain_route_shows_bucket_chain_and_who_is_out(penstock):
    running = penstock("explain", "route", "m", "--key", "u")
    explanation = Explanation(
        policy_revision="r",
        proxy="envoy",
        reason=REASON_EXPERIMENT,
        salt="s",
        bucket=0,
        experiment="e",
        variant="v",
        chain=["2", "2", "1"],
        endpoints=[
            Endpoint(server="b", address="h:1", exclusion_reason="unhealthy: no answer"),
            Endpoint(server="c", address="h:2", included=True, weight=64, weight_reason="slow"),
        ],
    )
    sent = running.answer("RoutingService", "ExplainRoute", rt.ExplainRouteResponse(explanation=explanation))
    assert sent.unit == "u"
    printed = running.printed()
    for said in (
        "0 of 10000",
        "version 2 up to 2 times, then version 1",
        "out: unhealthy: no answer",
        "e, variant v",
        "weight 64: slow",
    ):
        assert said in printed


def test_route_select_shows_whom_to_call_and_instead_of_whom(penstock):
    running = penstock("route", "select", "m", "--key", "u", "--version", "2")
    selection = Selection(
        model="m",
        version="1",
        fallback=True,
        endpoint=Endpoint(server="b", address="h:1"),
        others=[Endpoint(server="c")],
        method=METHOD_RING,
        failover=Failover(server="a", reason="no answer"),
    )
    sent = running.answer("RoutingService", "SelectEndpoint", rt.SelectEndpointResponse(selection=selection))
    assert (sent.model, sent.unit, sent.version) == ("m", "u", "2")
    printed = running.printed()
    for said in ("b at h:1", "m version 1, a fallback", "Envoy takes the same", "a: no answer", "c"):
        assert said in printed


def test_explain_health_lists_targets(penstock):
    running = penstock("explain", "health")
    target = TargetHealth(target="server/a", state=HEALTH_STATE_UNKNOWN, reason="no answer in 5 s")
    running.answer("HealthMonitoringService", "ListTargets", hm.ListTargetsResponse(targets=[target]))
    assert "server/a  UNKNOWN  no answer in 5 s" in running.printed()


def test_explain_health_says_how_a_server_is_weighed(penstock):
    running = penstock("explain", "health", "server/a")
    health = TargetHealth(target="server/a", state=HEALTH_STATE_UNKNOWN, weight=64, weight_reason="slow")
    running.answer("HealthMonitoringService", "ExplainHealth", hm.ExplainHealthResponse(health=health))
    assert "weight 64 of 100 on routes that weigh servers: slow" in running.printed()


def test_spend_groups_as_asked_and_prints_dollars(penstock):
    running = penstock("spend", "--by", "tenant", "--by", "version")
    row = SpendRow(group=["local", "1"], requests=3, compute_us=1500, nanodollars=6_000)
    sent = running.answer("CostTrackingService", "GetSpend", cost.GetSpendResponse(rows=[row], total_nanodollars=6_000))
    assert list(sent.group_by) == [DIMENSION_TENANT, DIMENSION_VERSION]
    printed = running.printed()
    assert "0.000006000" in printed
    assert "Unpriced" not in printed


def test_spend_says_why_nothing_was_charged(penstock):
    running = penstock("spend")
    row = SpendRow(group=["m"], requests=3, unpriced_requests=3)
    running.answer("CostTrackingService", "GetSpend", cost.GetSpendResponse(rows=[row]))
    assert "penstock spend set-price" in running.printed()


def reading(source, value=None, error=""):
    return CounterReading(source=source, value=value, error=error)


@pytest.mark.parametrize(
    ("envoy", "verdict"),
    [
        ([reading("envoy/ingress", 9), reading("envoy/mesh", 3)], "agrees with Envoy: all 12"),
        ([reading("envoy/ingress", 10)], "agrees with Envoy: all 10"),
        ([reading("envoy/ingress", 13)], "1 that Envoy finished are not in the books"),
        ([reading("envoy/ingress", 4)], "from a later start: 4 of 10 charged"),
        ([reading("envoy/ingress", 9), reading("envoy/mesh", error="away")], "none, for envoy/mesh did not say"),
        ([], "none, for Envoy did not say"),
    ],
)
def test_reconcile_shows_rows_that_add_up_and_a_verdict(penstock, envoy, verdict):
    running = penstock("spend", "reconcile")
    found = Reconciliation(
        ledger_requests=10,
        failed_requests=2,
        passed_requests=5,
        records=17,
        envoy=envoy,
        servers=[reading("triton/a", 40)],
    )
    running.answer("CostTrackingService", "Reconcile", cost.ReconcileResponse(reconciliation=found))
    printed = running.printed()
    counts = [line.split()[1] for line in printed.splitlines()[1:5]]
    assert counts == ["10", "2", "5", "17"]
    assert "its own count, since it started" in printed
    assert printed.splitlines()[-1].startswith("Verdict: ")
    assert verdict in printed


def test_experiment_create_reads_its_variants(penstock):
    running = penstock(
        "experiment", "create", "e", "m", "--variant", "old=1:4000", "--variant", "new=2:6000", "--start"
    )
    made = Experiment(name="e", model="m")
    sent = running.answer("ExperimentationService", "CreateExperiment", exp.CreateExperimentResponse(experiment=made))
    assert [(v.name, v.version, v.weight) for v in sent.experiment.variants] == [("old", "1", 4000), ("new", "2", 6000)]
    assert sent.experiment.coverage == 10_000
    made.state = Experiment.STATE_RUNNING
    running.answer("ExperimentationService", "StartExperiment", exp.StartExperimentResponse(experiment=made))
    assert "running" in running.printed()


def test_an_experiment_that_cannot_start_yet_is_there_to_be_started(penstock, capsys):
    running = penstock("experiment", "create", "e", "m", "--variant", "old=1:1", "--variant", "new=2:1", "--start")
    running.answer("ExperimentationService", "CreateExperiment", exp.CreateExperimentResponse())
    code = grpc.StatusCode.FAILED_PRECONDITION
    running.refuse("ExperimentationService", "StartExperiment", code, "2 is ready nowhere", "VERSION_NOT_READY")
    assert running.failed() == 1
    assert "`penstock experiment start e`" in capsys.readouterr().err


def test_a_prices_id_can_be_copied_from_80_columns(penstock):
    running = penstock("spend", "prices", width=80)
    price = Price(id="0f7252dc-adbd-42da-b6b3-eab7cf1706c3", meter=METER_COMPUTE_SECOND, nanodollars_per_unit="2000")
    price.effective_from.FromJsonString("2026-11-21T17:44:37.835216Z")
    running.answer("CostTrackingService", "ListPrices", cost.ListPricesResponse(prices=[price]))
    assert "0f7252dc-adbd-42da-b6b3-eab7cf1706c3  " in running.printed()


def test_experiment_show_has_a_line_for_each_figure_in_80_columns(penstock):
    running = penstock("experiment", "show", "e", width=80)
    figures = {"exposed_units": 123_456, "mean_rate": 0.5, "rate_low": 0.25, "rate_high": 0.75}
    lift = {"lift": 0.0213, "lift_low": -0.0401, "lift_high": 0.087}
    variants = [VariantAnalysis(variant="old", **figures), VariantAnalysis(variant="new", **figures, **lift)]
    analysis = Analysis(experiment="e", variants=variants, verdict="no winner")
    running.answer("ExperimentationService", "AnalyzeExperiment", exp.AnalyzeExperimentResponse(analysis=analysis))
    lines = [" ".join(line.split()) for line in running.printed().splitlines()]
    assert lines[0] == "old new"
    assert "units 123456 123456" in lines
    assert "rate [95 %] 0.5000 [0.2500, 0.7500] 0.5000 [0.2500, 0.7500]" in lines
    assert "lift [95 %] control +0.0213 [-0.0401, +0.0870]" in lines


def test_what_a_server_says_is_shown_as_it_is(penstock):
    running = penstock("explain", "health")
    target = TargetHealth(target="server/a", reason="[bold]no[/bold] answer on [::1]:8001")
    running.answer("HealthMonitoringService", "ListTargets", hm.ListTargetsResponse(targets=[target]))
    assert "[bold]no[/bold] answer on [::1]:8001" in running.printed()


def test_deleting_by_force(penstock):
    running = penstock("deploy", "delete", "m", "1", "--force")
    sent = running.answer("DeploymentService", "DeleteDeployment", dep.DeleteDeploymentResponse())
    assert sent.force
    running.printed()


def test_experiment_show_prints_the_verdict(penstock):
    running = penstock("experiment", "show", "e")
    variants = [VariantAnalysis(variant="old"), VariantAnalysis(variant="new", probability_better=0.97)]
    analysis = Analysis(experiment="e", variants=variants, verdict="new wins", waiting_outcomes=4)
    running.answer("ExperimentationService", "AnalyzeExperiment", exp.AnalyzeExperimentResponse(analysis=analysis))
    printed = running.printed()
    assert "new wins" in printed
    assert "0.9700" in printed
    assert "4 outcomes wait" in printed
