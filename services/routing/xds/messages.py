"""Envoy's messages that the policy is made of. They come without type stubs: what leaves this package has types again.

Composite clusters are missing from xds-protos: their two messages are declared here, where they are not yet known.
"""

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2  # pyright: ignore[reportMissingTypeStubs]
from envoy.config.endpoint.v3 import endpoint_pb2  # pyright: ignore[reportMissingTypeStubs]
from envoy.config.route.v3 import route_pb2, scoped_route_pb2  # pyright: ignore[reportMissingTypeStubs]
from envoy.extensions.filters.http.lua.v3 import lua_pb2  # pyright: ignore[reportMissingTypeStubs]
from envoy.extensions.retry.host.previous_hosts.v3 import (  # pyright: ignore[reportMissingTypeStubs]
    previous_hosts_pb2,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

COMPOSITE = "envoy.extensions.clusters.composite.v3"

Cluster: Any = cluster_pb2.Cluster  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
ClusterLoadAssignment: Any = endpoint_pb2.ClusterLoadAssignment  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
RouteConfiguration: Any = route_pb2.RouteConfiguration  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
ScopedRouteConfiguration: Any = scoped_route_pb2.ScopedRouteConfiguration  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
HttpProtocolOptions: Any = http_protocol_options_pb2.HttpProtocolOptions  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
LuaPerRoute: Any = lua_pb2.LuaPerRoute  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]
PreviousHosts: Any = previous_hosts_pb2.PreviousHostsPredicate  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]


def type_url(message: Any) -> str:
    return f"type.googleapis.com/{message.DESCRIPTOR.full_name}"


def packed(message: Message) -> AnyMessage:
    """Deterministic, unlike `Any.Pack` without being told so."""
    return AnyMessage(type_url=type_url(message), value=message.SerializeToString(deterministic=True))


def seconds(value: float) -> Duration:
    whole = int(value)
    return Duration(seconds=whole, nanos=round((value - whole) * 1e9))


def _composite() -> Any:
    pool = descriptor_pool.Default()
    try:
        found = pool.FindMessageTypeByName(f"{COMPOSITE}.ClusterConfig")
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto(
            name="envoy/extensions/clusters/composite/v3/cluster.proto", package=COMPOSITE, syntax="proto3"
        )
        entry = file.message_type.add(name="ClusterEntry")
        entry.field.add(name="name", number=1, type=9, label=1)
        config = file.message_type.add(name="ClusterConfig")
        config.field.add(name="clusters", number=1, type=11, label=3, type_name=f".{COMPOSITE}.ClusterEntry")
        pool.Add(file)
        found = pool.FindMessageTypeByName(f"{COMPOSITE}.ClusterConfig")
    return message_factory.GetMessageClass(found)


CompositeConfig: Any = _composite()
