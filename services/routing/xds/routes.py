"""A model's scope: its route table, in which every call to the model ends at a chain or is refused."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from google.protobuf.message import Message

from services.routing.domain.compiled import Chain, Copies, ModelPolicy
from services.routing.domain.policy import LoadBalancing
from services.routing.xds.clusters import UNSERVED
from services.routing.xds.messages import (
    PreviousHosts,
    RouteConfiguration,
    ScopedRouteConfiguration,
    packed,
    seconds,
)
from services.routing.xds.refusals import LARGEST_BODY, MODEL_INFER, header, refuse
from services.routing.xds.ways import Ways

SET = 2
RESOURCE_EXHAUSTED, NOT_FOUND = 8, 5
# A message of a stream comes from the slow door as a ModelInfer, so that it is read as one, and leaves as what it is.
METHOD = "/inference.GRPCInferenceService/Model%REQ(x-penstock-stream)%Infer"
METHOD_OF_COPIES = "/inference.GRPCInferenceService/Model(Stream)?Infer".replace(".", r"\.")
# An attempt that ends so is tried again. NOT_FOUND (grpc-status 5) is one of them: on a route that names a deployed
# version it means that this server has lost it, as one does that has just restarted.
RETRY_ON = "connect-failure,refused-stream,reset,unavailable,internal,retriable-headers"
MIRROR = "mirror"
"""Envoy's own listener of copies, and its cluster."""
TEN_THOUSAND = 1
PREVIOUS_HOSTS = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": packed(PreviousHosts())}


def table_name(model: str) -> str:
    """Of the model's table, and of the scope that leads to it."""
    return f"model/{model}"


def scope(name: str, model: str) -> Message:
    key = {"fragments": [{"string_key": model}]}
    return ScopedRouteConfiguration(name=name, route_configuration_name=name, key=key)


def table(name: str, model: ModelPolicy, filters: Sequence[str]) -> Message:
    """`filters`: the names that our filter has in the listeners."""
    host = {
        "name": "models",
        "domains": ["*"],
        "include_request_attempt_count": True,
        "include_attempt_count_in_response": True,
        "request_body_buffer_limit": {"value": LARGEST_BODY},
        "retry_policy": _retries(model),
        "routes": list(_routes(model, Ways(model, filters))),
    }
    return RouteConfiguration(name=name, virtual_hosts=[host])


def _routes(model: ModelPolicy, ways: Ways) -> Iterator[dict[str, Any]]:
    for tenant in model.exhausted_tenants:
        spent = [{"name": "x-penstock-tenant", "string_match": {"exact": tenant}}]
        message = f"the budget for {model.model} of tenant %REQ(x-penstock-tenant)% is spent"
        yield refuse("exhausted", _match(spent), 429, RESOURCE_EXHAUSTED, message)
    yield _split(model, ways)
    for chain in model.pinned:
        named = [{"name": "x-penstock-pin", "string_match": {"exact": chain.wanted.version}}]
        yield {"name": "pinned", "match": _match(named), **ways.of_chain(chain), "route": _action(model, chain)}
    if model.copies is not None and model.copies.servers:
        yield _copied(model, model.copies, ways)
    message = f"model {model.model} has no version %REQ(x-penstock-pin)% deployed"
    yield refuse("unknown-version", _match([]), 404, NOT_FOUND, message)


def _split(model: ModelPolicy, ways: Ways) -> dict[str, Any]:
    unpinned = _match([{"name": "x-penstock-pin", "present_match": True, "invert_match": True}])
    if len(model.slices) == 1:
        owner = model.slices[0]
        return {
            "name": "split",
            "match": unpinned,
            **ways.of_chain(owner.chain, owner),
            "route": {**_action(model, owner.chain), **_mirror(model)},
        }
    weighted = [
        {
            "name": _cluster(owner.chain),
            "weight": {"value": owner.end - owner.start},
            **ways.of_chain(owner.chain, owner),
        }
        for owner in model.slices
    ]
    action = {
        **_limits(model),
        "weighted_clusters": {"clusters": weighted, "use_hash_policy": {"value": True}},
        "hash_policy": [_salted(model.salt)],
        **_mirror(model),
    }
    return {"name": "split", "match": unpinned, "route": action}


def _mirror(model: ModelPolicy) -> dict[str, Any]:
    """Copies are pinned as no caller can pin, and come back to this table through a listener of their own."""
    copies = model.copies
    if copies is None or not copies.servers:
        return {}
    share = {"default_value": {"numerator": copies.basis_points, "denominator": TEN_THOUSAND}}
    # with its chain the version of another attempt would be written into a copy on its way to the listener
    changed = [{"append": header("x-penstock-pin", _copy_pin(copies), SET)}, {"remove": "x-penstock-chain"}]
    policy = {"cluster": MIRROR, "runtime_fraction": share, "request_headers_mutations": changed}
    return {"request_mirror_policies": [policy]}


def _copy_pin(copies: Copies) -> str:
    return f"{MIRROR}:{copies.target.version}"  # no version has a colon


def _copied(model: ModelPolicy, copies: Copies, ways: Ways) -> dict[str, Any]:
    """Once, on one server, without a limit of one attempt: a copy that takes long is no sign that a server is gone."""
    named = [{"name": "x-penstock-pin", "string_match": {"exact": _copy_pin(copies)}}]
    # a stream's message has its own method by now
    match = {"safe_regex": {"regex": METHOD_OF_COPIES}, "headers": named}
    limits = {key: limit for key, limit in _limits(model).items() if key != "path_rewrite"}
    return {
        "name": MIRROR,
        "match": match,
        **ways.of_copies(copies.target.version),
        "route": {**limits, "cluster": copies.servers, "retry_policy": {"num_retries": {"value": 0}}},
    }


def _match(headers: list[dict[str, Any]]) -> dict[str, Any]:
    return {"path": MODEL_INFER, "headers": headers}


def _cluster(chain: Chain) -> str:
    return chain.composite or UNSERVED


def _action(model: ModelPolicy, chain: Chain) -> dict[str, Any]:
    affinity = {"hash_policy": [_salted(model.salt)]} if model.load_balancing is LoadBalancing.RING_HASH else {}
    return {**_limits(model), **affinity, "cluster": _cluster(chain)}


def _limits(model: ModelPolicy) -> dict[str, Any]:
    """The caller's deadline holds, whatever it is; the route's own limit is for callers without one."""
    longest: dict[str, Any] = {"grpc_timeout_header_max": seconds(0)}
    if model.timeout > 0:
        longest["max_stream_duration"] = seconds(model.timeout)
    return {"timeout": seconds(0), "max_stream_duration": longest, "path_rewrite": METHOD}


def _salted(salt: str) -> Mapping[str, Any]:
    escaped = salt.replace("\\", "\\\\")
    rewrite = {"pattern": {"regex": "^(.*)$"}, "substitution": f"\\1:{escaped}"}
    return {"header": {"header_name": "x-penstock-routing-key", "regex_rewrite": rewrite}}


def _retries(model: ModelPolicy) -> dict[str, Any]:
    retries = model.retries
    policy: dict[str, Any] = {
        "retry_on": RETRY_ON,
        "retriable_headers": [{"name": "grpc-status", "string_match": {"exact": str(NOT_FOUND)}}],
        "num_retries": {"value": retries.attempts},
        "retry_back_off": {
            "base_interval": seconds(retries.back_off),
            "max_interval": seconds(10 * retries.back_off),
        },
        "retry_host_predicate": [PREVIOUS_HOSTS],
        "host_selection_retry_max_attempts": 20,
    }
    if retries.per_try_timeout > 0:
        policy["per_try_timeout"] = seconds(retries.per_try_timeout)
    return policy
