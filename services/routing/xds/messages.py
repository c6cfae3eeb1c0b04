"""Envoy's messages that the policy is made of. They come without type stubs: what leaves this package is typed again.

Composite clusters are missing from xds-protos: their two messages are declared here, where they are not yet known.
"""

from importlib import import_module
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

COMPOSITE = "envoy.extensions.clusters.composite.v3"


def _envoys(module: str, name: str) -> Any:
    return getattr(import_module(f"envoy.{module}_pb2"), name)


Cluster = _envoys("config.cluster.v3.cluster", "Cluster")
ClusterLoadAssignment = _envoys("config.endpoint.v3.endpoint", "ClusterLoadAssignment")
RouteConfiguration = _envoys("config.route.v3.route", "RouteConfiguration")
ScopedRouteConfiguration = _envoys("config.route.v3.scoped_route", "ScopedRouteConfiguration")
HttpProtocolOptions = _envoys("extensions.upstreams.http.v3.http_protocol_options", "HttpProtocolOptions")
PreviousHosts = _envoys("extensions.retry.host.previous_hosts.v3.previous_hosts", "PreviousHostsPredicate")
TypedExtensionConfig = _envoys("config.core.v3.extension", "TypedExtensionConfig")
DynamicModuleFilter = _envoys("extensions.filters.http.dynamic_modules.v3.dynamic_modules", "DynamicModuleFilter")
JwtAuthentication = _envoys("extensions.filters.http.jwt_authn.v3.config", "JwtAuthentication")
FilterPerRoute = _envoys("extensions.filters.http.dynamic_modules.v3.dynamic_modules", "DynamicModuleFilterPerRoute")
DeltaDiscoveryResponse = _envoys("service.discovery.v3.discovery", "DeltaDiscoveryResponse")
AdsServicer = import_module("envoy.service.discovery.v3.ads_pb2_grpc").AggregatedDiscoveryServiceServicer
add_ads = import_module("envoy.service.discovery.v3.ads_pb2_grpc").add_AggregatedDiscoveryServiceServicer_to_server


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
