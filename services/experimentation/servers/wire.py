"""Experiments, outcomes and analyses between protobuf and the domain."""

from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from libs.assignment import BUCKETS
from libs.errors import Faults
from penstock.experimentation.v1 import analysis_pb2, experiment_pb2
from penstock.experimentation.v1 import experimentation_service_pb2 as pb
from services.experimentation.domain.allocation import allocated
from services.experimentation.domain.analysis import Analysis, Weighed
from services.experimentation.domain.experiment import Direction, Draft, Experiment, State, Variant
from services.experimentation.domain.outcome import Outcome

Wire = experiment_pb2.Experiment
NO_TIME = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)
DIRECTIONS = {
    Wire.DIRECTION_UNSPECIFIED: Direction.HIGHER,
    Wire.DIRECTION_HIGHER: Direction.HIGHER,
    Wire.DIRECTION_LOWER: Direction.LOWER,
}


STATES = {
    State.DRAFT: Wire.STATE_DRAFT,
    State.RUNNING: Wire.STATE_RUNNING,
    State.STOPPED: Wire.STATE_STOPPED,
    State.GRADUATED: Wire.STATE_GRADUATED,
}


def draft_of(message: experiment_pb2.Experiment, faults: Faults) -> Draft:
    direction = DIRECTIONS.get(message.direction)
    faults.require(direction, "experiment.direction", f"{message.direction} is no direction")
    return Draft(
        name=message.name,
        model=message.model,
        variants=tuple(Variant(variant.name, variant.version, variant.weight) for variant in message.variants),
        coverage=message.coverage or BUCKETS,
        first_bucket=message.first_bucket,
        minimum_lift=message.minimum_lift,
        direction=direction or Direction.HIGHER,
        description=message.description,
    )


def experiment_message(experiment: Experiment) -> experiment_pb2.Experiment:
    draft = experiment.draft
    return experiment_pb2.Experiment(
        name=draft.name,
        model=draft.model,
        variants=[experiment_pb2.Variant(name=v.name, version=v.version, weight=v.weight) for v in draft.variants],
        coverage=draft.coverage,
        first_bucket=draft.first_bucket,
        minimum_lift=draft.minimum_lift,
        direction=Wire.DIRECTION_LOWER if draft.direction is Direction.LOWER else Wire.DIRECTION_HIGHER,
        state=STATES[experiment.state],
        winner=experiment.winner,
        description=draft.description,
        etag=str(experiment.revision),
        create_time=_timestamp(experiment.create_time),
        start_time=_timestamp(experiment.start_time),
        end_time=_timestamp(experiment.end_time),
    )


def _timestamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    message = Timestamp()
    message.FromDatetime(time)
    return message


def allocation_message(experiment: Experiment) -> experiment_pb2.Allocation:
    owned = [
        experiment_pb2.BucketRange(start=r.start, end=r.end, variant=r.variant, version=r.version)
        for r in allocated(experiment)
    ]
    return experiment_pb2.Allocation(
        experiment=experiment.name, model=experiment.model, salt=experiment.salt, ranges=owned
    )


def outcomes_of(request: pb.ReportOutcomesRequest, faults: Faults) -> Sequence[Outcome]:
    return [
        Outcome(
            experiment=message.experiment,
            outcome_id=message.outcome_id,
            unit=message.unit,
            positive=message.positive,
            event_time=_time(message.event_time, f"outcomes[{index}].event_time", faults)
            if message.HasField("event_time")
            else _no_time(f"outcomes[{index}].event_time", "is required", faults),
            request_id=message.exposure_request_id,
        )
        for index, message in enumerate(request.outcomes)
    ]


def _time(time: Timestamp, field: str, faults: Faults) -> datetime:
    try:
        found = time.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        found = NO_TIME
    # the first and the last moment of all mean infinity to asyncpg, which reads them back without a zone
    if not NO_TIME < found < LATEST:
        return _no_time(field, "is no time between the years 1 and 9999", faults)
    return found


def _no_time(field: str, description: str, faults: Faults) -> datetime:
    faults.add(field, description)
    return NO_TIME


def analysis_message(experiment: str, analysis: Analysis, now: datetime) -> analysis_pb2.Analysis:
    return analysis_pb2.Analysis(
        experiment=experiment,
        variants=[_variant_message(variant) for variant in analysis.variants],
        winner=analysis.winner,
        verdict=analysis.verdict,
        waiting_outcomes=analysis.evidence.waiting_outcomes,
        time=_timestamp(now),
        mixed_units=analysis.evidence.mixed_units,
        split_p_value=analysis.split_p_value,
    )


def _variant_message(weighed: Weighed) -> analysis_pb2.VariantAnalysis:
    return analysis_pb2.VariantAnalysis(
        variant=weighed.variant,
        version=weighed.version,
        exposed_units=weighed.tally.units,
        exposures=weighed.tally.exposures,
        outcomes=weighed.tally.outcomes,
        positive_outcomes=weighed.tally.positive,
        mean_rate=weighed.rate.mean,
        rate_low=weighed.interval[0],
        rate_high=weighed.interval[1],
        probability_better=weighed.probability_better,
        lift=weighed.lift,
        lift_low=weighed.lift_interval[0],
        lift_high=weighed.lift_interval[1],
    )
