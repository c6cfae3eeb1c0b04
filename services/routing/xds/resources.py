"""Policy to snapshot: every resource that Envoy is given, by type and name. Pure."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from google.protobuf.message import Message

from services.routing.domain.compiled import Policy
from services.routing.domain.compiler import compile_policy
from services.routing.domain.policy import Inputs
from services.routing.domain.snapshot import Resource, Snapshot
from services.routing.xds import clusters, doors, routes
from services.routing.xds.messages import (
    Cluster,
    ClusterLoadAssignment,
    RouteConfiguration,
    ScopedRouteConfiguration,
    type_url,
)

CDS, EDS = type_url(Cluster), type_url(ClusterLoadAssignment)
SRDS, RDS = type_url(ScopedRouteConfiguration), type_url(RouteConfiguration)


def compile_snapshot(inputs: Inputs) -> Snapshot:
    return build(compile_policy(inputs))


def build(policy: Policy) -> Snapshot:
    doors_only = without_policy()
    tables = {routes.table_name(model): found.composites for model, found in policy.models.items()}
    return Snapshot(
        policy,
        {
            CDS: _encoded(clusters.clusters(policy), policy.composites),
            EDS: _encoded(clusters.endpoints(policy)),
            RDS: {**doors_only[RDS], **_encoded(routes.tables(policy), tables)},
            SRDS: {**doors_only[SRDS], **_encoded(routes.scopes(policy), {name: (name,) for name in tables})},
        },
    )


def without_policy() -> Mapping[str, Mapping[str, Resource]]:
    """What an Envoy may have before there is any policy: the doors to the services.

    With one cluster: an Envoy that starts opens no listener, the mesh's neither, before it has heard of clusters.
    """
    return {CDS: _encoded([clusters.unserved()]), RDS: _encoded([doors.table()]), SRDS: _encoded([doors.scope()])}


def _encoded(
    messages: Iterable[tuple[str, Message]], needs: Mapping[str, Iterable[str]] = MappingProxyType({})
) -> dict[str, Resource]:
    return {
        name: Resource.of(message.SerializeToString(deterministic=True), needs.get(name, ()))
        for name, message in messages
    }
