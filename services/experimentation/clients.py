"""Routing and model_serving, as this service needs them."""

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from libs.statuses import from_sibling
from penstock.model_serving.v1.deployment_pb2 import Deployment
from penstock.model_serving.v1.deployment_service_pb2 import ListDeploymentsRequest
from penstock.model_serving.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from penstock.routing.v1.route_pb2 import Route
from penstock.routing.v1.routing_service_pb2 import UpdateRouteRequest
from penstock.routing.v1.routing_service_pb2_grpc import RoutingServiceStub

DEADLINE_SECONDS = 5.0
ASK_SECONDS = 2.0
"""Long enough to connect again to a mesh listener that has just come up."""
SERVING = (Deployment.STATE_READY, Deployment.STATE_PARTIAL)


class RoutingClient:
    def __init__(self, mesh: grpc.aio.Channel) -> None:
        self._routing = RoutingServiceStub(mesh)

    async def set_default_version(self, model: str, version: str) -> None:
        """Make it the version of the route's unassigned buckets. Raises what routing says, or SERVICE_UNAVAILABLE.

        No request id and no etag: saying it twice is harmless, and the last to say it is right.
        """
        request = UpdateRouteRequest(
            route=Route(model=model, default_version=version), update_mask=FieldMask(paths=["default_version"])
        )
        try:
            await self._routing.UpdateRoute(request, timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise from_sibling(error, "routing") from error


class ServingClient:
    def __init__(self, mesh: grpc.aio.Channel) -> None:
        self._deployments = DeploymentServiceStub(mesh)

    async def ready_versions(self, model: str) -> frozenset[str]:
        """Those that some server has ready. Raises what model_serving says, or SERVICE_UNAVAILABLE."""
        request = ListDeploymentsRequest(model=model, page_size=1000)
        found: set[str] = set()
        while True:
            try:
                page = await self._deployments.ListDeployments(request, timeout=ASK_SECONDS, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                raise from_sibling(error, "model_serving") from error
            found |= {deployment.version for deployment in page.deployments if deployment.state in SERVING}
            if not page.next_page_token:
                return frozenset(found)
            request.page_token = page.next_page_token
