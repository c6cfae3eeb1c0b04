"""routing, asked for where a caller may be led."""

from collections.abc import Sequence

import grpc

from libs.statuses import from_sibling
from penstock.routing.v1 import routing_service_pb2, routing_service_pb2_grpc

SERVICE = "routing"
LONGEST_SECONDS = 1.0


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
