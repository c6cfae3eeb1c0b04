"""An experiment from draft to graduation, over the wire, on two replicas."""

import asyncio
import itertools

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from libs.assignment import bucket
from libs.channels import open_channel
from libs.errors import NotFound, Unavailable
from libs.statuses import reason_of
from penstock.accesslog.v1.record_pb2 import HOP_INGRESS, AccessRecord, RecordBatch
from penstock.experimentation.v1 import experimentation_service_pb2 as pb
from penstock.experimentation.v1.analysis_pb2 import Outcome
from penstock.experimentation.v1.experiment_pb2 import Experiment, Variant
from penstock.experimentation.v1.experimentation_service_pb2_grpc import ExperimentationServiceStub
from penstock.model_serving.v1.deployment_pb2 import Deployment
from tests.integration.experimentation.conftest import free_port, process
from tests.polling import eventually_async

names = (f"life-{number}" for number in itertools.count())


def draft(model, name="", **more):
    variants = [Variant(name="linear", version="1", weight=2000), Variant(name="boosted", version="2", weight=2000)]
    return Experiment(**{"name": name or next(names), "model": model, "variants": variants, **more})


async def create(service, experiment, request_id=""):
    request = pb.CreateExperimentRequest(request_id=request_id, experiment=experiment)
    return (await service.CreateExperiment(request)).experiment


async def running(service, model, **more):
    created = await create(service, draft(model, **more))
    return (await service.StartExperiment(pb.StartExperimentRequest(name=created.name))).experiment


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def test_an_experiment_is_created_once_however_often_it_is_asked_for(service):
    wanted = draft("created", description="why", minimum_lift=0.02)
    created = await create(service, wanted, "create-1")
    assert created.state == Experiment.STATE_DRAFT
    assert (created.coverage, created.direction, created.etag) == (10000, Experiment.DIRECTION_HIGHER, "1")
    assert await create(service, wanted, "create-1") == created
    assert (await service.GetExperiment(pb.GetExperimentRequest(name=created.name))).experiment == created
    again = await refused(create(service, wanted, "create-2"))
    assert (again.code(), reason_of(again)) == (grpc.StatusCode.ALREADY_EXISTS, "EXPERIMENT_EXISTS")
    reused = await refused(create(service, draft("created"), "create-1"))
    assert reason_of(reused) == "REQUEST_ID_REUSED"


async def test_every_fault_of_a_draft_is_told(service):
    variants = [Variant(name="a", version="x", weight=6000), Variant(name="a", version="2", weight=6000)]
    wrong = Experiment(name="Wrong", model="", variants=variants, minimum_lift=-1, coverage=10001, direction=7)
    error = await refused(create(service, wrong))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(error).details)
    assert {violation.field for violation in bad.field_violations} == {
        "experiment.name", "experiment.model", "experiment.minimum_lift", "experiment.coverage", "experiment.direction",
        "experiment.variants", "experiment.variants[0].version", "experiment.variants[1].name",
    }  # fmt: skip


async def test_what_does_not_exist_is_not_found(service):
    for call in (
        service.GetExperiment(pb.GetExperimentRequest(name="nothing")),
        service.StartExperiment(pb.StartExperimentRequest(name="nothing")),
        service.StopExperiment(pb.StopExperimentRequest(name="\0")),
        service.GraduateExperiment(pb.GraduateExperimentRequest(name="")),
        service.Assign(pb.AssignRequest(experiment="nothing", units=["u"])),
        service.AnalyzeExperiment(pb.AnalyzeExperimentRequest(name="nothing")),
    ):
        error = await refused(call)
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "EXPERIMENT_NOT_FOUND")


async def test_lists_page(service):
    for _ in range(5):
        await create(service, draft("listed"))
    seen, token = [], ""
    while True:
        page = await service.ListExperiments(pb.ListExperimentsRequest(model="listed", page_size=2, page_token=token))
        seen.append([experiment.name for experiment in page.experiments])
        token = page.next_page_token
        if not token:
            break
    assert [len(page) for page in seen] == [2, 2, 1]
    listed = [name for page in seen for name in page]
    assert listed == sorted(listed)
    error = await refused(service.ListExperiments(pb.ListExperimentsRequest(page_token="?")))
    assert reason_of(error) == "INVALID_PAGE_TOKEN"
    error = await refused(service.ListExperiments(pb.ListExperimentsRequest(model="a\0")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_experiments_on_one_model_share_a_salt_and_do_not_overlap(service):
    one = await create(service, draft("shared"))
    started = await service.StartExperiment(pb.StartExperimentRequest(name=one.name))
    two = await create(service, draft("shared", first_bucket=3999))
    error = await refused(service.StartExperiment(pb.StartExperimentRequest(name=two.name)))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "ALLOCATION_OVERLAP")
    three = await create(service, draft("shared", first_bucket=4000))
    beside = await service.StartExperiment(pb.StartExperimentRequest(name=three.name))
    assert beside.allocation.salt == started.allocation.salt
    assert [(r.start, r.end) for r in beside.allocation.ranges] == [(4000, 6000), (6000, 8000)]
    await service.StopExperiment(pb.StopExperimentRequest(name=three.name))
    await service.StopExperiment(pb.StopExperimentRequest(name=one.name))
    await service.StartExperiment(pb.StartExperimentRequest(name=two.name))


async def test_of_overlapping_starts_at_the_same_moment_one_wins(replicas):
    made = [await create(replicas[0], draft("raced")) for _ in range(6)]
    starts = [
        replicas[n % 2].StartExperiment(pb.StartExperimentRequest(name=experiment.name))
        for n, experiment in enumerate(made)
    ]
    answers = await asyncio.gather(*starts, return_exceptions=True)
    errors = [reason_of(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert errors == ["ALLOCATION_OVERLAP"] * 5


async def test_only_versions_that_are_ready_somewhere_start(service, routes):
    created = await create(service, draft("unready"))
    start = pb.StartExperimentRequest(request_id="unready", name=created.name)
    routes.states["unready", "1"] = Deployment.STATE_PARTIAL
    for state in (Deployment.STATE_UNSPECIFIED, Deployment.STATE_PENDING, Deployment.STATE_DELETING):
        routes.states["unready", "2"] = state
        error = await refused(service.StartExperiment(start))
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.FAILED_PRECONDITION, "VERSION_NOT_READY")
        bad = BadRequest()
        assert any(detail.Unpack(bad) for detail in rpc_status.from_call(error).details)
        assert [violation.field for violation in bad.field_violations] == ["experiment.variants[1].version"]
    del routes.states["unready", "2"]
    assert (await service.StartExperiment(start)).experiment.state == Experiment.STATE_RUNNING


async def test_nothing_starts_while_nobody_can_say_what_is_ready(service, routes):
    created = await create(service, draft("unanswered"))
    start = pb.StartExperimentRequest(name=created.name)
    routes.error = Unavailable("STORE_UNAVAILABLE", "away")
    try:
        assert (await refused(service.StartExperiment(start))).code() is grpc.StatusCode.UNAVAILABLE
    finally:
        routes.error = None
    there = await service.GetExperiment(pb.GetExperimentRequest(name=created.name))
    assert there.experiment.state == Experiment.STATE_DRAFT
    await service.StartExperiment(start)


async def test_a_started_experiment_starts_once(service):
    created = await create(service, draft("started"))
    request = pb.StartExperimentRequest(request_id="start-once", name=created.name)
    first = await service.StartExperiment(request)
    assert await service.StartExperiment(request) == first
    error = await refused(service.StartExperiment(pb.StartExperimentRequest(name=created.name)))
    assert reason_of(error) == "EXPERIMENT_STATE"
    assert first.experiment.HasField("start_time")
    assert first.experiment.etag != created.etag


async def test_assign_is_what_the_allocation_says(service):
    created = await create(service, draft("assigned", coverage=5000))
    units = [f"unit-{n}" for n in range(2000)]
    before = await service.Assign(pb.AssignRequest(experiment=created.name, units=units))
    assert {assignment.variant for assignment in before.assignments} == {""}
    started = await service.StartExperiment(pb.StartExperimentRequest(name=created.name))
    allocation = started.allocation
    assert [(r.start, r.end, r.variant) for r in allocation.ranges] == [(0, 1000, "linear"), (2000, 3000, "boosted")]
    after = await service.Assign(pb.AssignRequest(experiment=created.name, units=units))
    for unit, assignment in zip(units, after.assignments, strict=True):
        mine = bucket(unit, allocation.salt)
        owners = [(r.variant, r.version) for r in allocation.ranges if r.start <= mine < r.end]
        assert (assignment.unit, assignment.bucket) == (unit, mine)
        assert [(assignment.variant, assignment.version)] == (owners or [("", "")])
    error = await refused(service.Assign(pb.AssignRequest(experiment=created.name, units=["u"] * 10_001)))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_every_replica_tells_its_watchers_of_every_change(replicas):
    async def of_model(watch):
        async for part in watch:
            assert part.complete
            yield part.revision, [a for a in part.allocations if a.model == "watched"]

    async def told(watch, *, running):
        """The next part in which the experiment runs, or does not; changes of other tests may come between."""
        async for revision, allocations in watch:
            if bool(allocations) == running:
                return revision, allocations
        raise AssertionError("the watch ended")

    watches = [of_model(replica.WatchAllocations(pb.WatchAllocationsRequest())) for replica in replicas]
    for watch in watches:
        await told(watch, running=False)
    started = await running(replicas[0], "watched")
    revisions = set()
    for watch in watches:
        revision, (allocation,) = await told(watch, running=True)
        assert allocation.experiment == started.name
        revisions.add(revision)
    assert len(revisions) == 1
    resumed = replicas[1].WatchAllocations(pb.WatchAllocationsRequest(last_revision=revisions.pop()))
    first = await anext(aiter(resumed))
    assert (first.unchanged, first.complete, list(first.allocations)) == (True, True, [])
    await replicas[1].StopExperiment(pb.StopExperimentRequest(name=started.name))
    for watch in watches:
        await told(watch, running=False)
        await watch.aclose()
    resumed.cancel()


async def with_evidence(service, experiment):
    """Enough for `boosted` to win."""
    records, outcomes = [], []
    for variant, positive in (("linear", 30), ("boosted", 60)):
        for n in range(100):
            unit = f"{variant}-{n}"
            records.append(
                AccessRecord(
                    request_id=f"{experiment}-{unit}",
                    hop=HOP_INGRESS,
                    experiment=experiment,
                    variant=variant,
                    unit=unit,
                    reached_server=True,
                )
            )
            outcome = Outcome(experiment=experiment, unit=unit, outcome_id=unit, positive=n < positive)
            outcome.event_time.GetCurrentTime()
            outcomes.append(outcome)
    batch = RecordBatch(proxy="envoy", file=f"of-{experiment}", end_offset=1, records=records)
    await service.DeliverRecords(pb.DeliverRecordsRequest(batch=batch))
    await service.ReportOutcomes(pb.ReportOutcomesRequest(outcomes=outcomes))


async def test_the_winner_becomes_the_routes_default(service, routes):
    experiment = await running(service, "graduated")
    early = await refused(service.GraduateExperiment(pb.GraduateExperimentRequest(name=experiment.name)))
    assert (early.code(), reason_of(early)) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_WINNER")
    assert "no outcome" in early.details()
    await with_evidence(service, experiment.name)
    graduated = (await service.GraduateExperiment(pb.GraduateExperimentRequest(name=experiment.name))).experiment
    assert (graduated.state, graduated.winner) == (Experiment.STATE_GRADUATED, "boosted")
    assert graduated.HasField("end_time")
    assert routes.defaults["graduated"] == "2"
    assert routes.masks[-1] == ["default_version"]
    calls = len(routes.masks)
    again = await service.GraduateExperiment(pb.GraduateExperimentRequest(name=experiment.name, variant="boosted"))
    assert again.experiment == graduated
    assert len(routes.masks) == calls
    other = pb.GraduateExperimentRequest(name=experiment.name, variant="linear")
    assert reason_of(await refused(service.GraduateExperiment(other))) == "EXPERIMENT_STATE"


async def test_whoever_knows_better_may_choose(service, routes):
    experiment = await running(service, "chosen")
    wrong = pb.GraduateExperimentRequest(name=experiment.name, variant="nobody")
    assert (await refused(service.GraduateExperiment(wrong))).code() is grpc.StatusCode.INVALID_ARGUMENT
    right = pb.GraduateExperimentRequest(name=experiment.name, variant="linear", request_id="choose-linear")
    graduated = await service.GraduateExperiment(right)
    assert graduated.experiment.winner == "linear"
    assert routes.defaults["chosen"] == "1"
    assert await service.GraduateExperiment(right) == graduated


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (Unavailable("SERVICE_UNAVAILABLE", "down"), "SERVICE_UNAVAILABLE"),
        (RuntimeError("broken"), "SERVICE_UNAVAILABLE"),
        (NotFound("ROUTE_NOT_FOUND", "no route"), "ROUTE_NOT_FOUND"),
    ],
)
async def test_without_routing_nothing_graduates(service, routes, failure, reason):
    experiment = await running(service, f"stuck-{reason}-{type(failure).__name__}")
    request = pb.GraduateExperimentRequest(name=experiment.name, variant="boosted", request_id=f"g-{experiment.name}")
    routes.error = failure
    error = await refused(service.GraduateExperiment(request))
    routes.error = None
    assert reason_of(error) == reason
    unchanged = (await service.GetExperiment(pb.GetExperimentRequest(name=experiment.name))).experiment
    assert unchanged == experiment
    # a failed mutation is not remembered
    assert (await service.GraduateExperiment(request)).experiment.state == Experiment.STATE_GRADUATED


async def test_a_draft_cannot_graduate_and_routing_is_not_told(service, routes):
    created = await create(service, draft("not-started"))
    request = pb.GraduateExperimentRequest(name=created.name, variant="boosted")
    assert reason_of(await refused(service.GraduateExperiment(request))) == "EXPERIMENT_STATE"
    assert "not-started" not in routes.defaults


async def test_a_graduated_experiment_gives_its_buckets_back(replicas):
    experiment = await running(replicas[0], "given-back")
    await replicas[0].GraduateExperiment(pb.GraduateExperimentRequest(name=experiment.name, variant="boosted"))

    async def gone():
        watch = replicas[1].WatchAllocations(pb.WatchAllocationsRequest())
        part = await anext(aiter(watch))
        watch.cancel()
        return not [a for a in part.allocations if a.experiment == experiment.name]

    await eventually_async(gone)


async def test_without_postgres_it_says_so_and_stays(routes):
    listen = f"127.0.0.1:{free_port()}"
    with process("postgresql://nobody@/none?host=/nowhere", routes.address, listen) as alone:
        channel = open_channel(listen)
        service = ExperimentationServiceStub(channel)

        async def unavailable():
            error = await refused(service.GetExperiment(pb.GetExperimentRequest(name="any"), timeout=1))
            return reason_of(error) == "STORE_UNAVAILABLE"

        await eventually_async(unavailable, within=30)
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert alone.poll() is None
        await channel.close()
