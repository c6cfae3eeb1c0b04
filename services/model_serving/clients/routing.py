"""routing, asked for where a caller may be led, and which versions a route names."""

from collections.abc import Sequence

import grpc

from libs.errors import NotFound
from libs.statuses import from_sibling
from penstock.routing.v1 import routing_service_pb2, routing_service_pb2_grpc

SERVICE = "routing"
LONGEST_SECONDS = 1.0
USES_SECONDS = 2.0
"""Long enough to connect again to a mesh listener that has just come up."""


class Routing:
    """Through the mesh listener."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = routing_service_pb2_grpc.RoutingServiceStub(channel)

    async def leads_to(self, model: str, unit: str, seconds: float | None) -> Sequence[str]:
        """Each version of the model that may answer: the chain, or, where chance decides, every outcome."""
        request = routing_service_pb2.ExplainRouteRequest(model=model, unit=unit)
        timeout = LONGEST_SECONDS if seconds is None else min(seconds, LONGEST_SECONDS)
        try:
            answer = await self._stub.ExplainRoute(request, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise from_sibling(error, SERVICE) from error
        explanation = answer.explanation
        found = explanation.chain or [share.version for share in explanation.shares]
        # a fallback of another model is `model/version`
        return list(dict.fromkeys(version for version in found if "/" not in version))

    async def uses(self, model: str, version: str) -> Sequence[str]:
        """Its places in the model's route. Raises Unavailable."""
        request = routing_service_pb2.GetRouteRequest(model=model)
        try:
            route = (await self._stub.GetRoute(request, timeout=USES_SECONDS, wait_for_ready=True)).route
        except grpc.aio.AioRpcError as error:
            refusal = from_sibling(error, SERVICE)
            if isinstance(refusal, NotFound):
                return ()
            raise refusal from error
        places = {"the default version of its route": [route.default_version]}
        places["a fallback of its route"] = list(route.fallback_versions)
        places["the mirror of its route"] = [route.mirror.version]
        return [place for place, versions in places.items() if version in versions]
