"""Every service that clients reach through the ingress, so that reflection there describes them all.

Importing the stubs is what puts their descriptors into the process.
"""

from google.protobuf.descriptor import FileDescriptor
from tritonclient.grpc import service_pb2

from penstock.cost_tracking.v1 import cost_tracking_service_pb2
from penstock.experimentation.v1 import experimentation_service_pb2
from penstock.feature_store.v1 import feature_registry_service_pb2, feature_serving_service_pb2
from penstock.health_monitoring.v1 import health_monitoring_service_pb2
from penstock.model_serving.v1 import deployment_service_pb2, model_registry_service_pb2, prediction_service_pb2
from penstock.routing.v1 import access_service_pb2, routing_service_pb2

FILES: tuple[FileDescriptor, ...] = (
    service_pb2.DESCRIPTOR,
    access_service_pb2.DESCRIPTOR,
    cost_tracking_service_pb2.DESCRIPTOR,
    deployment_service_pb2.DESCRIPTOR,
    experimentation_service_pb2.DESCRIPTOR,
    feature_registry_service_pb2.DESCRIPTOR,
    feature_serving_service_pb2.DESCRIPTOR,
    health_monitoring_service_pb2.DESCRIPTOR,
    model_registry_service_pb2.DESCRIPTOR,
    prediction_service_pb2.DESCRIPTOR,
    routing_service_pb2.DESCRIPTOR,
)
SERVICES = tuple(service.full_name for file in FILES for service in file.services_by_name.values())
"""Full names: `inference.GRPCInferenceService`, `penstock.routing.v1.RoutingService`, …"""
