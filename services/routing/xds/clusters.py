"""Server sets as clusters with endpoints of their own, chains as composites of them."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from google.protobuf.message import Message

from services.routing.domain.compiled import Policy, ServerSet
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
LB_POLICIES = {LoadBalancing.ROUND_ROBIN: 0, LoadBalancing.LEAST_REQUEST: 1}
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


def unserved() -> tuple[str, Message]:
    return UNSERVED, Cluster(name=UNSERVED, type=STATIC, load_assignment={"cluster_name": UNSERVED})


def clusters(policy: Policy) -> Iterator[tuple[str, Message]]:
    http2 = packed(HttpProtocolOptions(explicit_http_config={"http2_protocol_options": {}}))
    protocol = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2}
    yield unserved()
    for name, servers in policy.server_sets.items():
        yield (
            name,
            Cluster(
                name=name,
                **_members(servers),
                connect_timeout=seconds(1),
                lb_policy=LB_POLICIES[servers.load_balancing],
                circuit_breakers=BREAKERS,
                outlier_detection=OUTLIERS,
                common_lb_config=NO_PANIC,
                typed_extension_protocol_options=protocol,
            ),
        )
    for name, shape in policy.composites.items():
        chain = packed(CompositeConfig(clusters=[{"name": servers} for servers in shape]))
        yield (
            name,
            Cluster(
                name=name,
                connect_timeout=seconds(1),
                lb_policy=CLUSTER_PROVIDED,
                cluster_type={"name": "envoy.clusters.composite", "typed_config": chain},
                circuit_breakers=BREAKERS,
                typed_extension_protocol_options=protocol,
            ),
        )


def endpoints(policy: Policy) -> Iterator[tuple[str, Message]]:
    for name, servers in policy.server_sets.items():
        if not _named(servers):
            yield name, _assignment(servers)


def _members(servers: ServerSet) -> Mapping[str, Any]:
    """Endpoints travel apart where all are IP addresses. EDS takes no names: a set with one carries its endpoints."""
    if _named(servers):
        return {**NAMED, "load_assignment": _assignment(servers)}
    return {"type": EDS, "eds_cluster_config": {"eds_config": ADS}}


def _named(servers: ServerSet) -> bool:
    """By its members, in or out, so that health never changes the kind of a cluster."""
    return not all(_is_ip(endpoint.address) for endpoint in servers.endpoints)


def _is_ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def _assignment(servers: ServerSet) -> Message:
    return ClusterLoadAssignment(cluster_name=servers.name, endpoints=[{"lb_endpoints": _included(servers)}])


def _included(servers: ServerSet) -> list[dict[str, Any]]:
    return [
        {
            "endpoint": {"address": {"socket_address": {"address": e.address, "port_value": e.port}}},
            "load_balancing_weight": {"value": e.weight},
        }
        for e in servers.endpoints
        if e.included
    ]
