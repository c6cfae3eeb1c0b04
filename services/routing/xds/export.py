"""A snapshot as a static Envoy configuration, for people and for `envoy --mode validate`.

It is the policy, not the whole data plane: without what is for our own filters, and with one listener that chooses a
route table by the header x-penstock-scope, as the filters and logs of deploy/envoy/bootstrap.yaml leave it to.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml
from google.protobuf.json_format import MessageToJson

from services.routing.domain.snapshot import Snapshot
from services.routing.xds.access import FILTER
from services.routing.xds.messages import Cluster, ClusterLoadAssignment, RouteConfiguration, ScopedRouteConfiguration
from services.routing.xds.resources import CDS, EDS, RDS, SRDS

LISTEN = {"socket_address": {"address": "127.0.0.1", "port_value": 10000}}
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "envoy.extensions.filters.http.router.v3.Router"
ON_REQUEST, ON_ANSWER = "request_headers_to_add", "response_headers_to_add"
HEADERS = {
    "chain": (ON_REQUEST, "x-penstock-chain", "OVERWRITE_IF_EXISTS_OR_ADD"),
    "version": (ON_ANSWER, "x-penstock-model-version", "ADD_IF_ABSENT"),
    "degraded": (ON_ANSWER, "x-penstock-degraded", "ADD_IF_ABSENT"),
    "variant": (ON_ANSWER, "x-penstock-variant", "OVERWRITE_IF_EXISTS_OR_ADD"),
    "experiment": (ON_ANSWER, "x-penstock-experiment", "OVERWRITE_IF_EXISTS_OR_ADD"),
}
"""That our filter sets, by the word that tells it so."""
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]+")


class _Dumper(yaml.SafeDumper):
    """Quotes what Envoy's parser might not take for text: a variant called `y` would be true there."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if PLAIN.fullmatch(text) else '"')


_Dumper.add_representer(str, _text)


def export(snapshot: Snapshot) -> str:
    """YAML, the same for the same snapshot."""
    endpoints = _decoded(snapshot, EDS, ClusterLoadAssignment)
    clusters = [_static(cluster, endpoints) for cluster in _decoded(snapshot, CDS, Cluster).values()]
    configuration = {"static_resources": {"listeners": [_listener(snapshot)], "clusters": clusters}}
    written = yaml.dump(configuration, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return f"# Penstock policy {snapshot.revision}\n{written}"


def _static(cluster: dict[str, Any], endpoints: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    found = endpoints.get(cluster["name"])
    if found is None:
        return cluster
    kept = {key: value for key, value in cluster.items() if key not in ("type", "eds_cluster_config")}
    return {**kept, "type": "STRICT_DNS", "load_assignment": found}


def _listener(snapshot: Snapshot) -> dict[str, Any]:
    tables = _decoded(snapshot, RDS, RouteConfiguration)
    for table in tables.values():
        for host in table["virtual_hosts"]:
            host["routes"] = [_route(route) for route in host["routes"]]
    scopes = [
        # its doors lead to clusters of the bootstrap, which are not here
        {
            "name": scope["name"],
            "key": scope["key"],
            "route_configuration": {**tables[scope["route_configuration_name"]], "validate_clusters": False},
        }
        for scope in _decoded(snapshot, SRDS, ScopedRouteConfiguration).values()
    ]
    key = {"header_value_extractor": {"name": "x-penstock-scope", "element_separator": ",", "index": 0}}
    manager = {
        "@type": f"type.googleapis.com/{MANAGER}",
        "stat_prefix": "policy",
        "scoped_routes": {
            "name": "models",
            "scope_key_builder": {"fragments": [key]},
            "scoped_route_configurations_list": {"scoped_route_configurations": scopes},
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"type.googleapis.com/{ROUTER}"}}
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": "policy", "address": LISTEN, "filter_chains": [{"filters": filters}]}


def _route(route: dict[str, Any]) -> dict[str, Any]:
    action = route.get("route", {})
    if "weighted_clusters" in action:
        weighted = action["weighted_clusters"]
        action["weighted_clusters"] = {**weighted, "clusters": [_without_filter(each) for each in weighted["clusters"]]}
    return _without_filter(route)


def _without_filter(part: dict[str, Any]) -> dict[str, Any]:
    """An Envoy without our library would refuse what is for it: in its place are the headers that the filter sets."""
    ours = part.get("typed_per_filter_config", {}).get(FILTER)
    if ours is None:
        return part
    said = dict(line.split(" ", 1) for line in ours["filter_config"]["value"].splitlines())
    made = {key: value for key, value in part.items() if key != "typed_per_filter_config"}
    for word, (where, name, action) in HEADERS.items():
        if word in said:
            made.setdefault(where, []).append({"header": {"key": name, "value": said[word]}, "append_action": action})
    return made


def _decoded(snapshot: Snapshot, url: str, message: Any) -> dict[str, dict[str, Any]]:
    return {
        name: json.loads(MessageToJson(message.FromString(resource.body), preserving_proto_field_name=True))
        for name, resource in sorted(snapshot.resources[url].items())
    }
