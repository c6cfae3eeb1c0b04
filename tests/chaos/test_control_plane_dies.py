"""The whole control plane dies while callers call; traffic flows, and every request is charged and counted once."""

import time

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from deploy.local.ports import SERVICES
from penstock.cost_tracking.v1.cost_tracking_service_pb2 import GetSpendRequest, ReconcileRequest
from penstock.experimentation.v1.experimentation_service_pb2 import AnalyzeExperimentRequest
from penstock.feature_store.v1 import feature_registry_service_pb2 as features
from penstock.feature_store.v1.feature_serving_service_pb2 import GetOnlineFeaturesRequest
from penstock.health_monitoring.v1.health_monitoring_service_pb2 import ListTargetsRequest
from penstock.model_serving.v1.model_registry_service_pb2 import ListModelsRequest
from penstock.routing.v1.route_pb2 import Route
from penstock.routing.v1.routing_service_pb2 import UpdateRouteRequest
from penstock_client import column
from tests.chaos.load import load
from tests.polling import eventually
from tests.serving import explain

HEALED_SECONDS = 15
SETTLED_SECONDS = 60
DOWN_SECONDS = 60


def charged(penstock, model):
    rows = penstock.costs.GetSpend(GetSpendRequest(model=model)).rows
    return sum(row.requests for row in rows)


def exposed(penstock, experiment="hardy-halves"):
    analysis = penstock.experiments.AnalyzeExperiment(AnalyzeExperimentRequest(name=experiment)).analysis
    return sum(v.exposures for v in analysis.variants), sum(v.exposed_units for v in analysis.variants)


def at_rest(penstock, model):
    """What is charged, exposures and exposed units, once nothing of earlier calls is under way any more.

    Every call of these tests has a unit and is in the experiment, so at rest as many are exposed as are charged.
    """

    def books():
        found = penstock.costs.Reconcile(ReconcileRequest()).reconciliation
        completed = sum(reading.value for reading in found.envoy)
        return (
            found.ledger_requests + found.failed_requests >= completed
            and charged(penstock, model) == exposed(penstock)[0]
        )

    eventually(books, within=SETTLED_SECONDS, message="the books are closed before the test begins")
    return charged(penstock, model), *exposed(penstock)


def settled_at(penstock, model, wanted):
    """The ledger has exactly as many as were answered, and stays there."""
    eventually(lambda: charged(penstock, model) >= wanted, within=SETTLED_SECONDS, message="every answer is charged")
    assert charged(penstock, model) == wanted


def everything_answers(penstock, model):
    """Each service, through the ingress; Redis, through the one that needs it."""
    crate = GetOnlineFeaturesRequest(feature_service="crates", entities=[column("crate_id", ["p"])])
    return all(
        (
            explain(penstock, model, "u").chain,
            penstock.models.ListModels(ListModelsRequest()).models,
            penstock.feature_registry.ListEntities(features.ListEntitiesRequest()).entities,
            penstock.features.GetOnlineFeatures(crate).ByteSize(),
            exposed(penstock),
            charged(penstock, model),
            penstock.health.ListTargets(ListTargetsRequest()).targets,
        )
    )


def test_every_service_and_redis_die_and_no_native_call_fails(stack, penstock, model):
    before, exposures, _ = at_rest(penstock, model)
    with load(stack.address("ingress"), model, "headless") as seen:
        eventually(lambda: seen.succeeded > 500)
        parts = (*SERVICES, "redis")
        for part in parts:
            stack.hold(part, kill=True)
        reached = seen.succeeded
        eventually(lambda: seen.succeeded > reached + 3000, within=30, message="callers go on without a control plane")
        for part in parts:
            stack.release(part)
        for part in parts:
            stack.wait_ready(part, within=60)
        # each has returned; now they must find each other
        eventually(lambda: everything_answers(penstock, model), within=HEALED_SECONDS, message="all is healed")
    assert seen.failures == []
    settled_at(penstock, model, before + seen.succeeded)
    eventually(lambda: exposed(penstock)[0] >= exposures + seen.succeeded, within=SETTLED_SECONDS)
    assert exposed(penstock)[0] == exposures + seen.succeeded


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_restarts_in_the_middle_of_a_run_loses_nothing(stack, penstock, model, service):
    before, exposures, _ = at_rest(penstock, model)
    with load(stack.address("ingress"), model, f"restart-{service}") as seen:
        eventually(lambda: seen.succeeded > 300)
        stack.restart(service)
        reached = seen.succeeded
        eventually(lambda: seen.succeeded > reached + 300)
    assert seen.failures == []
    eventually(lambda: everything_answers(penstock, model), within=HEALED_SECONDS)
    settled_at(penstock, model, before + seen.succeeded)
    eventually(lambda: exposed(penstock)[0] >= exposures + seen.succeeded, within=SETTLED_SECONDS)
    assert exposed(penstock)[0] == exposures + seen.succeeded


def test_cost_tracking_is_down_for_a_minute_under_load_and_every_request_is_charged_once(stack, penstock, model):
    before, exposures, units = at_rest(penstock, model)
    with load(stack.address("ingress"), model, "unpaid") as seen:
        eventually(lambda: seen.succeeded > 300)
        with stack.held_down("cost_tracking"):
            reached, down_since = seen.succeeded, time.monotonic()
            eventually(lambda: time.monotonic() > down_since + DOWN_SECONDS, within=DOWN_SECONDS + 5)
            assert seen.succeeded > reached
    assert seen.failures == []
    stack.wait_ready("cost_tracking", within=60)
    settled_at(penstock, model, before + seen.succeeded)
    eventually(lambda: exposed(penstock)[0] >= exposures + seen.succeeded, within=SETTLED_SECONDS)
    assert exposed(penstock) == (exposures + seen.succeeded, units + len(seen.units))


def test_an_envoy_that_starts_without_routing_postgres_and_redis_serves_and_then_follows(stack, penstock, model):
    dead = ("routing", "postgres", "redis")
    for part in dead:
        stack.hold(part, kill=True)
    before = stack.process("envoy")
    stack.kill("envoy")
    stack.wait_ready("envoy", within=60, unless=before)
    with load(stack.address("ingress"), model, "kept") as seen:
        eventually(lambda: seen.succeeded > 1000, within=30, message="the new Envoy serves the last policy")
        for part in dead:
            stack.release(part)
        for part in dead:
            stack.wait_ready(part, within=60)
        eventually(lambda: everything_answers(penstock, model), within=HEALED_SECONDS, message="all is healed")
        for retries in (3, 5):
            changed = Route(model=model, max_retries=retries)
            mask = FieldMask(paths=["max_retries"])
            penstock.routing.UpdateRoute(UpdateRouteRequest(route=changed, update_mask=mask))
            eventually(
                lambda retries=retries: len(explain(penstock, model, "u").chain) == 1 + retries,
                within=HEALED_SECONDS,
                message="Envoy follows routing again",
            )
    assert seen.failures == []
