"""Record log lines and outcomes over the wire: counted once, refused whole, joined in whatever order they come."""

import itertools

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from libs.statuses import reason_of
from penstock.accesslog.v1.record_pb2 import HOP_INGRESS, HOP_MESH, HOP_MIRROR, AccessRecord, RecordBatch
from penstock.experimentation.v1 import experimentation_service_pb2 as pb
from penstock.experimentation.v1.analysis_pb2 import Outcome
from penstock.experimentation.v1.experiment_pb2 import Experiment, Variant

numbers = itertools.count()
NOON = Timestamp(seconds=1_795_262_400)


@pytest.fixture
async def experiment(service):
    name = f"seen-{next(numbers)}"
    variants = [Variant(name="linear", version="1", weight=5000), Variant(name="boosted", version="2", weight=5000)]
    made = Experiment(name=name, model=name, variants=variants)
    await service.CreateExperiment(pb.CreateExperimentRequest(experiment=made))
    await service.StartExperiment(pb.StartExperimentRequest(name=name))
    return name


def record(named, request_id, unit="u1", variant="linear", **more):
    served = {"hop": HOP_INGRESS, "start_time": NOON, "reached_server": True, "model": named, "version": "1"}
    ids = {"request_id": f"{named}-{request_id}", "unit": unit, "variant": variant, "experiment": named}
    return AccessRecord(**{**served, **ids, **more})


async def deliver(service, file, start, end, *records, unreadable=0):
    batch = RecordBatch(
        proxy="envoy", file=file, start_offset=start, end_offset=end, records=records, unreadable=unreadable
    )
    return (await service.DeliverRecords(pb.DeliverRecordsRequest(batch=batch))).committed_offset


def outcome(experiment, outcome_id, unit="u1", positive=True, **more):
    return Outcome(
        **{"experiment": experiment, "outcome_id": outcome_id, "unit": unit, "positive": positive, "event_time": NOON}
        | more
    )


async def report(service, *outcomes):
    return await service.ReportOutcomes(pb.ReportOutcomesRequest(outcomes=outcomes))


async def analyse(service, experiment):
    return (await service.AnalyzeExperiment(pb.AnalyzeExperimentRequest(name=experiment))).analysis


async def counts(service, experiment):
    analysis = await analyse(service, experiment)
    return [(v.exposed_units, v.exposures, v.outcomes, v.positive_outcomes) for v in analysis.variants]


async def test_exposures_are_counted_once_on_every_replica(replicas, experiment):
    lines = [record(experiment, "r1"), record(experiment, "r2"), record(experiment, "r3", "u2", "boosted")]
    for replica in (*replicas, *replicas):
        assert await deliver(replica, experiment, 0, 300, *lines) == 300
    assert await deliver(replicas[1], experiment, 300, 400, record(experiment, "r2")) == 400
    assert await deliver(replicas[1], f"{experiment}-copy", 0, 300, *lines) == 300
    assert await counts(replicas[0], experiment) == [(1, 2, 0, 0), (1, 1, 0, 0)]


async def test_lines_out_of_place_are_sent_back(service, experiment):
    assert await deliver(service, experiment, 100, 200, record(experiment, "r1")) == 0
    assert await deliver(service, experiment, 0, 100) == 100
    assert await deliver(service, experiment, 50, 200, record(experiment, "r1")) == 100
    assert await counts(service, experiment) == [(0, 0, 0, 0)] * 2


async def test_only_what_served_a_unit_of_a_known_experiment_counts(service, experiment):
    lines = [
        record(experiment, "1", experiment=""),
        record(experiment, "2", unit=""),
        record(experiment, "3", grpc_status=14),
        record(experiment, "4", degraded="fallback-model"),
        record(experiment, "5", reached_server=False),
        record(experiment, "6", hop=HOP_MIRROR),
        record(experiment, "7", experiment="nobody-knows"),
        record(experiment, "8", variant="nobody-knows"),
        record(experiment, "9", unit="u" * 1025),
        record(experiment, "10", unit="nul\0"),
        record(experiment, "11", start_time=Timestamp(seconds=-(1 << 62))),
        record(experiment, "12", hop=HOP_MESH),
    ]
    assert await deliver(service, experiment, 0, 10, *lines, unreadable=4) == 10
    assert await counts(service, experiment) == [(1, 1, 0, 0), (0, 0, 0, 0)]


@pytest.mark.parametrize(
    "batch",
    [
        RecordBatch(),
        RecordBatch(proxy="p", file="f", start_offset=5, end_offset=5),
        RecordBatch(proxy="p", file="f", start_offset=0, end_offset=1 << 63),
        RecordBatch(proxy="p\0", file="f", end_offset=1),
        RecordBatch(proxy="p", file="f" * 513, end_offset=1),
    ],
)
async def test_a_batch_without_a_place_is_invalid(service, batch):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.DeliverRecords(pb.DeliverRecordsRequest(batch=batch))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_outcomes_join_whether_they_come_first_or_last(service, experiment):
    early = await report(
        service,
        outcome(experiment, "o1"),
        outcome(experiment, "o2", unit="", exposure_request_id=f"{experiment}-r2", positive=False),
    )
    assert (early.accepted, early.repeated_outcomes, early.waiting) == (2, 0, 2)
    assert (await analyse(service, experiment)).waiting_outcomes == 2
    await deliver(service, experiment, 0, 10, record(experiment, "r1"), record(experiment, "r2", "u2", "boosted"))
    late = await report(service, outcome(experiment, "o1"), outcome(experiment, "o3", unit="u2"))
    assert (late.accepted, late.repeated_outcomes, late.waiting) == (1, 1, 0)
    assert (await analyse(service, experiment)).waiting_outcomes == 0
    assert await counts(service, experiment) == [(1, 1, 1, 1), (1, 1, 2, 1)]


async def test_a_report_with_a_fault_changes_nothing(service, experiment):
    good = outcome(experiment, "good")
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    for bad, code, reason in (
        (outcome("nobody-knows", "o"), grpc.StatusCode.NOT_FOUND, "EXPERIMENT_NOT_FOUND"),
        (outcome("\0", "o"), grpc.StatusCode.NOT_FOUND, "EXPERIMENT_NOT_FOUND"),
        (outcome(experiment, ""), invalid, "INVALID_REQUEST"),
        (outcome(experiment, "o", unit=""), invalid, "INVALID_REQUEST"),
        (outcome(experiment, "o", unit="a\0"), invalid, "INVALID_REQUEST"),
        (outcome(experiment, "o", event_time=None), invalid, "INVALID_REQUEST"),
        (outcome(experiment, "o", event_time=Timestamp(seconds=1 << 62)), invalid, "INVALID_REQUEST"),
        (outcome(experiment, "good", positive=False), grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await report(service, good, bad)
        assert (refused.value.code(), reason_of(refused.value)) == (code, reason)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await report(service, *[good] * 10_001)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await analyse(service, experiment)).waiting_outcomes == 0


async def test_an_analysis_weighs_what_was_seen(service, experiment):
    for variant, positive in (("linear", 20), ("boosted", 60)):
        lines = [record(experiment, f"{variant}-{n}", f"{variant}-{n}", variant) for n in range(100)]
        await deliver(service, f"{experiment}-{variant}", 0, 10, *lines)
        happened = [outcome(experiment, f"{variant}-{n}", f"{variant}-{n}", n < positive) for n in range(100)]
        await report(service, *happened)
    mixed = record(experiment, "again", "linear-1", "boosted", start_time=Timestamp(seconds=NOON.seconds + 1))
    await deliver(service, f"{experiment}-linear", 10, 20, mixed)
    analysis = await analyse(service, experiment)
    linear, boosted = analysis.variants
    assert (linear.exposed_units, linear.exposures, linear.outcomes, linear.positive_outcomes) == (100, 101, 100, 20)
    assert linear.mean_rate == 21 / 102
    assert (linear.probability_better, linear.lift, linear.lift_low, linear.lift_high) == (0, 0, 0, 0)
    assert (boosted.variant, boosted.version, boosted.mean_rate) == ("boosted", "2", 61 / 102)
    assert boosted.probability_better > 0.9999
    assert boosted.lift == pytest.approx(61 / 21 - 1)
    assert 0 < boosted.lift_low < boosted.lift < boosted.lift_high
    assert boosted.rate_low < boosted.mean_rate < boosted.rate_high
    assert analysis.winner == "boosted"
    assert (analysis.mixed_units, analysis.split_p_value) == (1, 1)
    assert "1 units were served by several variants" in analysis.verdict


async def test_a_thousand_lines_or_five_are_one_commit(service, experiment):
    lines = [record(experiment, f"r{n}", f"u{n % 700}", "linear" if n % 700 % 2 else "boosted") for n in range(5000)]
    assert await deliver(service, experiment, 0, 1_000_000, *lines) == 1_000_000
    assert await counts(service, experiment) == [(350, 2500, 0, 0), (350, 2500, 0, 0)]
