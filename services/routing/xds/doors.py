"""The default scope: where a call goes while no model has been read from it. Nothing here reaches a Triton.

The same for every policy: it is there before the first one is compiled.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.message import Message

from services.routing.xds.messages import RouteConfiguration, ScopedRouteConfiguration, seconds
from services.routing.xds.refusals import LARGEST_BODY, MODEL_INFER, header, refuse

DEFAULT = "default"
NO_MODEL = "-"
"""The default scope's key: no model can be called so."""

PERMISSION_DENIED, UNIMPLEMENTED, INTERNAL = 7, 12, 13
OVERWRITE = 2
LONGEST_SILENCE = 300.0
"""Seconds after which a call is ended in which neither side has said anything."""

CALLERS_LIMIT: Mapping[str, Any] = {
    "timeout": seconds(0),
    "max_stream_duration": {"grpc_timeout_header_max": seconds(0)},
}
"""As long as the caller allows."""
PUBLIC = (
    ("/penstock.routing.v1.", "routing"),
    ("/penstock.feature_store.v1.", "feature_store"),
    ("/penstock.model_serving.v1.", "model_serving"),
    ("/penstock.experimentation.v1.", "experimentation"),
    ("/penstock.cost_tracking.v1.", "cost_tracking"),
    ("/penstock.health_monitoring.v1.", "health_monitoring"),
    ("/grpc.reflection.v1.", "routing"),
    ("/grpc.reflection.v1alpha.", "routing"),
    ("/grpc.health.v1.", "routing"),
    ("/inference.GRPCInferenceService/", "model_serving"),
)
MODEL_STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
LONGEST_STREAM = 900.0
"""Seconds after which a stream ends: who called is looked at when it begins, and a key may be revoked meanwhile."""
ENCODING = "x-penstock-encoding"
"""Says again how a caller's messages are compressed: gRPC keeps that from whoever answers them."""
PROTOCOL_REST = "/v2"
"""The REST form of the inference protocol."""
GRPC_WEB = r"application/grpc-web(-text)?(\+proto)?"
REST = "/v1"
"""The REST form of our own services: Envoy turns it into their methods, behind a listener of its own."""
HEALTH_SECONDS = 2.0
"""Whoever asks for health is told soon, also while nobody answers."""
BETWEEN_SERVICES = r"/penstock\.\w+\.v1\.\w+/(Watch\w+|DeliverRecords)"


def scope() -> tuple[str, Message]:
    key = {"fragments": [{"string_key": NO_MODEL}]}
    return DEFAULT, ScopedRouteConfiguration(name=DEFAULT, route_configuration_name=DEFAULT, key=key)


def table() -> tuple[str, Message]:
    host = {
        "name": "doors",
        "domains": ["*"],
        "request_body_buffer_limit": {"value": LARGEST_BODY},
        "routes": [_browsers(), *_inference(), *_services()],
    }
    return DEFAULT, RouteConfiguration(name=DEFAULT, virtual_hosts=[host])


def _browsers() -> dict[str, Any]:
    """What comes as gRPC-Web is gRPC on its second hop, and finds its way there as any call does."""
    form = {"name": "content-type", "string_match": {"safe_regex": {"regex": GRPC_WEB}}}
    return {"name": "grpc-web", "match": {"prefix": "/", "headers": [form]}, "route": _to("grpc_web")}


def _inference() -> Iterator[dict[str, Any]]:
    slow = {"path": MODEL_INFER, "headers": [{"name": "x-penstock-door", "string_match": {"exact": "slow"}}]}
    encoding = [header(ENCODING, "%REQ(grpc-encoding)%", OVERWRITE)]
    door = {"name": "slow-door", "route": _to("model_serving"), "request_headers_to_add": encoding}
    yield {"match": slow, **door}
    longest = {"max_stream_duration": seconds(LONGEST_STREAM), "grpc_timeout_header_max": seconds(LONGEST_STREAM)}
    stream = {**_to("model_serving"), "max_stream_duration": longest}
    yield {"match": {"path": MODEL_STREAM_INFER}, **door, "route": stream}
    message = "the request could not be read"
    yield refuse("unread", {"path": MODEL_INFER}, 500, INTERNAL, message)


def _services() -> Iterator[dict[str, Any]]:
    private = {"safe_regex": {"regex": BETWEEN_SERVICES}}
    message = "%PATH(NQ)% is between services only"
    yield refuse("private", private, 403, PERMISSION_DENIED, message)
    for prefix, cluster in PUBLIC:
        yield {
            "name": cluster,
            "match": {"prefix": prefix},
            "route": _to(cluster),
        }
    yield from _http()
    message = "there is no %PATH(NQ)% here"
    yield refuse("unknown", {"prefix": "/"}, 404, UNIMPLEMENTED, message)


def _http() -> Iterator[dict[str, Any]]:
    """What is no gRPC."""
    soon = {"cluster": "health_monitoring_http", "timeout": seconds(HEALTH_SECONDS)}
    yield {"name": "health", "match": {"path": "/health"}, "route": soon}
    yield {"name": "rest", "match": {"path_separated_prefix": PROTOCOL_REST}, "route": _to("model_serving_http")}
    for match in ({"path_separated_prefix": REST}, {"path": "/openapi.json"}):
        yield {"name": "rest", "match": match, "route": _to("rest")}


def _to(cluster: str) -> dict[str, Any]:
    return {"cluster": cluster, "idle_timeout": seconds(LONGEST_SILENCE), **CALLERS_LIMIT}
