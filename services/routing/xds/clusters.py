"""Server sets as clusters with endpoints of their own, chains as composites of them."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from services.routing.domain.compiled import ServerSet
from services.routing.domain.policy import LoadBalancing
from services.routing.xds.messages import (
    Cluster,
    ClusterLoadAssignment,
    CompositeConfig,
    HttpProtocolOptions,
    packed,
    seconds,
)

UNSERVED = "unserved"
"""A cluster without a server, for calls that nothing can serve."""

ADS: Mapping[str, Any] = {"ads": {}, "resource_api_version": 2}
# In turn, and in proportion to the endpoints' weights where these differ
ROUND_ROBIN, LEAST_REQUEST, RING_HASH = 0, 1, 2
LB_POLICIES = {
    LoadBalancing.ROUND_ROBIN: ROUND_ROBIN,
    LoadBalancing.LEAST_REQUEST: LEAST_REQUEST,
    LoadBalancing.RING_HASH: RING_HASH,
    LoadBalancing.WEIGHTED_RESPONSE_TIME: ROUND_ROBIN,
}
CLUSTER_PROVIDED = 6
STATIC, STRICT_DNS, EDS = 0, 1, 3
V4_PREFERRED = 3
# Envoy's default takes ::1 for `localhost`, where a Triton that listens on IPv4 is not found. A name that has no
# address yet is asked for again every second.
NAMED: Mapping[str, Any] = {
    "type": STRICT_DNS,
    "dns_lookup_family": V4_PREFERRED,
    "dns_failure_refresh_rate": {"base_interval": seconds(1), "max_interval": seconds(1)},
}

# The default of 3 retries in flight fails calls of a chain that works. The budget allows as many as there are calls:
# it bounds a storm, not the hundred milliseconds after a server's death.
BREAKERS: Mapping[str, Any] = {
    "thresholds": [
        {
            "max_connections": {"value": 100_000},
            "max_pending_requests": {"value": 100_000},
            "max_requests": {"value": 100_000},
            "retry_budget": {"budget_percent": {"value": 100}, "min_retry_concurrency": {"value": 100}},
        }
    ]
}
# For two servers as for a hundred: any number may be out but the last. Only what says that the server itself is gone
# counts: refused or broken connections and attempts that ran out of time. A status that a model answers with does not,
# since the set serves other models too; whose fault those are is for health_monitoring to judge. A server that is out
# is tried again every second, later every 5 s.
OUTLIERS: Mapping[str, Any] = {
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": {"value": 3},
    "enforcing_consecutive_5xx": {"value": 0},
    "enforcing_consecutive_gateway_failure": {"value": 0},
    "enforcing_success_rate": {"value": 0},
    "enforcing_local_origin_success_rate": {"value": 0},
    "interval": seconds(0.5),
    "base_ejection_time": seconds(1),
    "max_ejection_time": seconds(5),
    "max_ejection_percent": {"value": 99},
}
# Health leaves the last server in, and ejection too: there is no panic to have. Envoy's default of 50 % would send a
# third of the calls to the dead as soon as two of three servers are.
NO_PANIC: Mapping[str, Any] = {"healthy_panic_threshold": {"value": 0}}
# A server may have half more than its share of the calls in flight, or one busy unit would drown it
BOUNDED: Mapping[str, Any] = {"consistent_hashing_lb_config": {"hash_balance_factor": {"value": 150}}}


# The servers of gRPC speak HTTP/2 only
HTTP2: Mapping[str, Any] = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(
        HttpProtocolOptions(explicit_http_config={"http2_protocol_options": {}})
    )
}


def unserved() -> Message:
    return Cluster(name=UNSERVED, type=STATIC, load_assignment={"cluster_name": UNSERVED})


def server_set(name: str, servers: ServerSet) -> Message:
    return Cluster(
        name=name,
        **_members(servers),
        connect_timeout=seconds(1),
        lb_policy=LB_POLICIES[servers.load_balancing],
        circuit_breakers=BREAKERS,
        outlier_detection=OUTLIERS,
        common_lb_config={**NO_PANIC, **BOUNDED} if servers.load_balancing is LoadBalancing.RING_HASH else NO_PANIC,
        typed_extension_protocol_options=HTTP2,
    )


def composite(name: str, shape: tuple[str, ...]) -> Message:
    chain = packed(CompositeConfig(clusters=[{"name": servers} for servers in shape]))
    return Cluster(
        name=name,
        connect_timeout=seconds(1),
        lb_policy=CLUSTER_PROVIDED,
        cluster_type={"name": "envoy.clusters.composite", "typed_config": chain},
        circuit_breakers=BREAKERS,
        typed_extension_protocol_options=HTTP2,
    )


def assignment(name: str, servers: ServerSet) -> Message:
    return ClusterLoadAssignment(cluster_name=name, endpoints=[{"lb_endpoints": _included(servers)}])


def _members(servers: ServerSet) -> Mapping[str, Any]:
    """Endpoints travel apart where all are IP addresses. EDS takes no names: a set with one carries its endpoints."""
    if servers.named:
        return {**NAMED, "load_assignment": assignment(servers.name, servers)}
    return {"type": EDS, "eds_cluster_config": {"eds_config": ADS}}


def _included(servers: ServerSet) -> list[dict[str, Any]]:
    return [
        {
            "endpoint": {"address": {"socket_address": {"address": e.address, "port_value": e.port}}},
            "load_balancing_weight": {"value": e.weight},
        }
        for e in servers.endpoints
        if e.included
    ]
