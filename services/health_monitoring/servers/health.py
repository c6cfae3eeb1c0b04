"""HealthMonitoringService: what is believed, why, since when, and every change."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from libs.clock import Clock
from libs.errors import Faults, Invalid, Violation
from libs.paging import Page, page
from libs.watch import Publisher
from penstock.health_monitoring.v1 import health_monitoring_service_pb2 as pb
from penstock.health_monitoring.v1 import health_monitoring_service_pb2_grpc as pb_grpc
from penstock.health_monitoring.v1.health_pb2 import TargetHealth
from services.health_monitoring.domain.health import Transition
from services.health_monitoring.domain.monitor import Monitor
from services.health_monitoring.servers import encode


class Transitions(Protocol):
    async def transitions(self, target: str, since: datetime | None, page: Page) -> tuple[Sequence[Transition], str]:
        """Newest first, with the token of the next page. An empty target means all. Raises Unavailable."""
        ...


class HealthMonitoringServicer(pb_grpc.HealthMonitoringServiceServicer):
    def __init__(
        self, monitor: Monitor, transitions: Transitions, publisher: Publisher[TargetHealth], clock: Clock
    ) -> None:
        self._monitor = monitor
        self._transitions = transitions
        self._publisher = publisher
        self._clock = clock

    async def ListTargets(self, request: pb.ListTargetsRequest, context: Any) -> pb.ListTargetsResponse:
        asked = page(request.page_size, request.page_token)
        after = asked.after[0] if asked.after else ""
        later = [each for each in self._monitor.healths() if each.target.identity > after]
        rows, token = asked.split(later[: asked.lookahead], lambda each: (each.target.identity,))
        return pb.ListTargetsResponse(targets=[encode.health(each) for each in rows], next_page_token=token)

    async def ExplainHealth(self, request: pb.ExplainHealthRequest, context: Any) -> pb.ExplainHealthResponse:
        faults = Faults()
        faults.require(request.target, "target", "is required")
        faults.check()
        return encode.explanation(self._monitor.explain(request.target, int(self._clock.monotonic())))

    async def ListTransitions(self, request: pb.ListTransitionsRequest, context: Any) -> pb.ListTransitionsResponse:
        asked = page(request.page_size, request.page_token, keys=2)
        since = _since(request)
        found, token = await self._transitions.transitions(request.target, since, asked)
        transitions = [encode.transition(each) for each in found]
        return pb.ListTransitionsResponse(transitions=transitions, next_page_token=token)

    async def WatchHealth(self, request: pb.WatchHealthRequest, context: Any) -> AsyncIterator[pb.WatchHealthResponse]:
        async for snapshot in self._publisher.watch(request.last_revision):
            if snapshot is None:
                yield pb.WatchHealthResponse(revision=request.last_revision, complete=True, unchanged=True)
                continue
            for targets, last in snapshot.parts():
                yield pb.WatchHealthResponse(revision=snapshot.revision, targets=targets, complete=last)


def _since(request: pb.ListTransitionsRequest) -> datetime | None:
    if not request.HasField("from"):
        return None
    try:
        # `from` is a word of Python
        return getattr(request, "from").ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise Invalid([Violation("from", "no time between the years 1 and 9999")]) from error
