"""The domain's values as messages."""

from datetime import datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from penstock.health_monitoring.v1 import health_monitoring_service_pb2 as service_pb2
from penstock.health_monitoring.v1 import health_pb2
from services.health_monitoring.domain.belief import Probe, State
from services.health_monitoring.domain.calls import Statistics
from services.health_monitoring.domain.health import Health, Transition
from services.health_monitoring.domain.monitor import Explanation
from services.health_monitoring.domain.target import Kind

STATES = {
    State.HEALTHY: health_pb2.HEALTH_STATE_HEALTHY,
    State.UNHEALTHY: health_pb2.HEALTH_STATE_UNHEALTHY,
    State.UNKNOWN: health_pb2.HEALTH_STATE_UNKNOWN,
}
KINDS = {
    Kind.SERVER: health_pb2.TARGET_KIND_SERVER,
    Kind.MODEL_VERSION: health_pb2.TARGET_KIND_MODEL_VERSION,
    Kind.SERVICE: health_pb2.TARGET_KIND_SERVICE,
}


def health(value: Health) -> health_pb2.TargetHealth:
    target = value.target
    return health_pb2.TargetHealth(
        target=target.identity,
        kind=KINDS[target.kind],
        state=STATES[value.state],
        reason=value.reason,
        since=_timestamp(value.since),
        server="" if target.kind is Kind.SERVICE else target.name,
        model=target.model,
        version=target.version,
        receives_traffic=value.receives_traffic,
        weight=value.weight if target.kind is Kind.SERVER else 0,
        weight_reason=value.weight_reason,
    )


def transition(value: Transition) -> health_pb2.Transition:
    return health_pb2.Transition(
        target=value.target,
        **{"from": STATES[value.before]},  # pyright: ignore[reportArgumentType]  `from` is a word of Python
        to=STATES[value.after],
        reason=value.reason,
        time=_timestamp(value.time),
    )


def explanation(value: Explanation) -> service_pb2.ExplainHealthResponse:
    return service_pb2.ExplainHealthResponse(
        health=health(value.health),
        probe=_probe(value.probe, value.consecutive) if value.probe else None,
        calls=_statistics(value.calls) if value.calls else None,
        transitions=[transition(each) for each in value.transitions],
    )


def _probe(value: Probe, consecutive: int) -> health_pb2.ProbeResult:
    return health_pb2.ProbeResult(
        time=_timestamp(value.time),
        passed=value.passed,
        message=value.message,
        latency=_duration(value.latency),
        consecutive=consecutive,
    )


def _statistics(value: Statistics) -> health_pb2.CallStatistics:
    return health_pb2.CallStatistics(
        window=_duration(value.window),
        calls=value.calls,
        errors=value.errors,
        rate=value.rate,
        p50=_duration(value.p50),
        p99=_duration(value.p99),
    )


def _timestamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message


def _duration(seconds: float) -> Duration:
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message
