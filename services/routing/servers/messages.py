"""Routes, proxies and explanations between the wire and the domain."""

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors import Faults
from penstock.routing.v1 import explanation_pb2, proxy_pb2, route_pb2
from services.routing.domain.compiled import Copies, Endpoint
from services.routing.domain.explain import Explanation, Why
from services.routing.domain.policy import Limits, LoadBalancing, Mirror, ModelVersion, Retries, Route
from services.routing.domain.proxies import Proxy
from services.routing.domain.routes import (
    DEFAULT_BACK_OFF,
    DEFAULT_LIMITS,
    DEFAULT_LOAD_BALANCING,
    DEFAULT_RETRIES,
    DEFAULT_TIMEOUT,
    StoredRoute,
    default_per_try_timeout,
)

LOAD_BALANCING = {
    route_pb2.LOAD_BALANCING_UNSPECIFIED: DEFAULT_LOAD_BALANCING,
    route_pb2.LOAD_BALANCING_ROUND_ROBIN: LoadBalancing.ROUND_ROBIN,
    route_pb2.LOAD_BALANCING_LEAST_REQUEST: LoadBalancing.LEAST_REQUEST,
    route_pb2.LOAD_BALANCING_RING_HASH: LoadBalancing.RING_HASH,
    route_pb2.LOAD_BALANCING_WEIGHTED_RESPONSE_TIME: LoadBalancing.WEIGHTED_RESPONSE_TIME,
}
REASONS = {
    Why.EXPERIMENT: explanation_pb2.REASON_EXPERIMENT,
    Why.DEFAULT: explanation_pb2.REASON_DEFAULT,
    Why.PINNED: explanation_pb2.REASON_PINNED,
    Why.RANDOM: explanation_pb2.REASON_RANDOM,
    Why.NO_SERVER: explanation_pb2.REASON_NO_SERVER,
    Why.VARIANT_NOT_DEPLOYED: explanation_pb2.REASON_VARIANT_NOT_DEPLOYED,
    Why.BUDGET_SPENT: explanation_pb2.REASON_BUDGET_SPENT,
}
NANOSECONDS = 1_000_000_000
CHANGEABLE = (
    "default_version",
    "fallback_versions",
    "load_balancing",
    "timeout",
    "per_try_timeout",
    "max_retries",
    "retry_back_off",
    "mirror",
    "max_calls",
    "max_waiting",
    "max_message_bytes",
)


def decode_route(said: route_pb2.Route, faults: Faults) -> Route:
    """With the defaults in the place of what is not set; whether it is a good route is not asked here."""
    known = faults.require(said.load_balancing in LOAD_BALANCING, "route.load_balancing", "is no known value")
    timeout = _seconds(said.timeout, "route.timeout", faults) if said.HasField("timeout") else DEFAULT_TIMEOUT
    own = said.HasField("per_try_timeout")
    per_try = (
        _seconds(said.per_try_timeout, "route.per_try_timeout", faults) if own else default_per_try_timeout(timeout)
    )
    return Route(
        model=said.model,
        default_version=said.default_version,
        fallbacks=tuple(ModelVersion(said.model, version) for version in said.fallback_versions),
        load_balancing=LOAD_BALANCING[said.load_balancing] if known else DEFAULT_LOAD_BALANCING,
        timeout=timeout,
        retries=Retries(
            attempts=said.max_retries if said.HasField("max_retries") else DEFAULT_RETRIES,
            per_try_timeout=per_try,
            back_off=_seconds(said.retry_back_off, "route.retry_back_off", faults)
            if said.HasField("retry_back_off")
            else DEFAULT_BACK_OFF,
        ),
        mirror=Mirror(said.mirror.version, said.mirror.basis_points) if said.HasField("mirror") else None,
        limits=Limits(
            said.max_calls or DEFAULT_LIMITS.max_calls,
            said.max_waiting if said.HasField("max_waiting") else DEFAULT_LIMITS.max_waiting,
            said.max_message_bytes,
        ),
    )


def merge_route(current: Route, said: route_pb2.Route, mask: FieldMask, faults: Faults) -> Route:
    """`current` with the masked fields of `said`; an empty mask means every field that can be changed."""
    for path in mask.paths:
        faults.require(path in CHANGEABLE, "update_mask", f"{path!r} is none of {', '.join(CHANGEABLE)}")
    wanted = set(mask.paths or CHANGEABLE)
    chosen = route_pb2.Route()
    chosen.CopyFrom(said)
    merged = encode_route(current)
    for field in CHANGEABLE:
        (merged if field in wanted else chosen).ClearField(field)
    if current.retries.per_try_timeout == default_per_try_timeout(current.timeout):
        merged.ClearField("per_try_timeout")  # it goes with the timeout, unless it is set now
    chosen.model = current.model
    merged.MergeFrom(chosen)
    return decode_route(merged, faults)


def encode_route(route: Route) -> route_pb2.Route:
    balancing = {mine: wire for wire, mine in LOAD_BALANCING.items() if wire}
    return route_pb2.Route(
        model=route.model,
        default_version=route.default_version,
        fallback_versions=[target.version for target in route.fallbacks],
        load_balancing=balancing[route.load_balancing],
        timeout=_duration(route.timeout),
        per_try_timeout=_duration(route.retries.per_try_timeout),
        max_retries=route.retries.attempts,
        retry_back_off=_duration(route.retries.back_off),
        mirror=_mirror(route.mirror),
        max_calls=route.limits.max_calls,
        max_waiting=route.limits.max_waiting,
        max_message_bytes=route.limits.max_message_bytes,
    )


def _mirror(mirror: Mirror | None) -> route_pb2.Mirror | None:
    return route_pb2.Mirror(version=mirror.version, basis_points=mirror.basis_points) if mirror else None


def encode_stored(stored: StoredRoute) -> route_pb2.Route:
    encoded = encode_route(stored.route)
    encoded.etag = stored.etag
    encoded.create_time.CopyFrom(_timestamp(stored.create_time))
    encoded.update_time.CopyFrom(_timestamp(stored.update_time))
    return encoded


def encode_proxy(proxy: Proxy) -> proxy_pb2.Proxy:
    return proxy_pb2.Proxy(
        id=proxy.id,
        envoy_version=proxy.envoy_version,
        connected=proxy.connected,
        connect_time=_timestamp(proxy.connect_time),
        sent_revision=proxy.sent_revision,
        acknowledged_revision=proxy.acknowledged_revision,
        acknowledge_time=_timestamp(proxy.acknowledge_time) if proxy.acknowledge_time else None,
        rejections=[
            proxy_pb2.Rejection(type_url=r.type_url, message=r.message, time=_timestamp(r.time))
            for r in proxy.rejections
        ],
    )


def encode_explanation(told: Explanation, proxy: str, revision: str) -> explanation_pb2.Explanation:
    attempts = told.chain.attempts if told.chain else ()
    return explanation_pb2.Explanation(
        policy_revision=revision,
        proxy=proxy,
        model=told.model,
        reason=REASONS[told.why],
        salt=told.salt,
        bucket=told.bucket,
        experiment=told.experiment,
        variant=told.variant,
        chain=[version_of(attempt.target, told.model) for attempt in attempts],
        endpoints=[encode_endpoint(endpoint) for endpoint in told.endpoints],
        shares=[
            explanation_pb2.Share(experiment=s.experiment, variant=s.variant, version=s.version, buckets=s.buckets)
            for s in told.shares
        ],
        mirror=_copies(told.copies),
    )


def _copies(copies: Copies | None) -> explanation_pb2.ExplainedMirror | None:
    if copies is None:
        return None
    return explanation_pb2.ExplainedMirror(
        version=copies.target.version, basis_points=copies.basis_points, exclusion_reason=copies.absence
    )


def version_of(target: ModelVersion, model: str) -> str:
    return target.version if target.model == model else f"{target.model}/{target.version}"


def encode_endpoint(endpoint: Endpoint) -> explanation_pb2.Endpoint:
    return explanation_pb2.Endpoint(
        server=endpoint.server,
        address=endpoint.host,
        included=endpoint.included,
        exclusion_reason=endpoint.reason,
        weight=endpoint.weight,
        weight_reason=endpoint.weight_reason,
    )


def _seconds(duration: Duration, field: str, faults: Faults) -> float:
    """What protobuf does not allow in a Duration is a fault: nanoseconds beyond a second, two signs."""
    in_bounds = abs(duration.nanos) < NANOSECONDS and duration.seconds * duration.nanos >= 0
    faults.require(in_bounds, field, "is no Duration: its nanos must be less than a second and have its sign")
    return duration.ToNanoseconds() / NANOSECONDS


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromNanoseconds(round(seconds * 1e9))
    return duration


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
