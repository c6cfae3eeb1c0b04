"""Routing, as this service needs it."""

import grpc
from google.protobuf.field_mask_pb2 import FieldMask

from libs.statuses import from_sibling
from penstock.routing.v1.route_pb2 import Route
from penstock.routing.v1.routing_service_pb2 import UpdateRouteRequest
from penstock.routing.v1.routing_service_pb2_grpc import RoutingServiceStub

DEADLINE_SECONDS = 5.0


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
