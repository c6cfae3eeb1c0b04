"""The ADS server that Envoy knows: routing's own words while routing answers, the kept policy while it does not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from envoy.service.discovery.v3 import discovery_pb2

from deploy.envoy.keeper import metrics
from deploy.envoy.keeper.session import Session
from deploy.envoy.keeper.shelf import Shelf
from deploy.envoy.keeper.standin import StandIn

log = logging.getLogger(__name__)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
METHOD = "DeltaAggregatedResources"
KEEPER, POLICY = "x-penstock-keeper", "x-penstock-policy"
"""Says to routing that a keeper reads along; says to the keeper, first, which policy routing has, empty for none."""
OPEN_SECONDS = 1.0
AGAIN_SECONDS = 0.5
MEND_SECONDS = 5.0
"""So often at most all of a policy is sent again while the disk is full."""


class Relay:
    """Envoy's stream ends whenever the source changes: Envoy then says anew what it has, and is sent what differs.

    Belongs to one event loop.
    """

    def __init__(self, shelf: Shelf, routings: Sequence[grpc.aio.Channel]) -> None:
        """Replicas of routing, in the order in which they are asked."""
        self._shelf = shelf
        # bytes, not messages: whatever a release of Envoy or routing puts in passes as it is
        self._streams: list[Any] = [routing.stream_stream(f"/{SERVICE}/{METHOD}") for routing in routings]

    def register(self, server: grpc.aio.Server) -> None:
        handler = grpc.stream_stream_rpc_method_handler(self._serve)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))

    async def _serve(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        routing = await self._open()
        if routing is not None:
            answers, why = self._follow(routing, requests), "routing is gone"
        elif self._shelf.empty:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "no routing answers, and no policy is kept")
            return
        else:
            answers, why = self._stand_in(requests), "routing is back"
        async for answer in answers:
            yield answer
        await context.abort(grpc.StatusCode.UNAVAILABLE, why)

    async def _open(self) -> Any:
        """A stream to a routing that has a policy, or, as long as nothing is kept, may not have one yet. Else None."""
        for stream in self._streams:
            call = stream(metadata=((KEEPER, "1"),))
            try:
                async with asyncio.timeout(OPEN_SECONDS):
                    said = dict(await call.initial_metadata())
            except (TimeoutError, grpc.aio.AioRpcError):
                said = {}
            if said.get(POLICY) or (POLICY in said and self._shelf.empty):
                return call
            call.cancel()
        return None

    async def _follow(self, routing: Any, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        session = Session(self._shelf)
        forwarding = asyncio.create_task(_forward(requests, routing, session))
        mending = asyncio.create_task(self._mend(routing))
        metrics.FOLLOWING.inc()
        log.info("Envoy follows routing")
        try:
            async for answer in routing:
                response = discovery_pb2.DeltaDiscoveryResponse.FromString(answer)
                if not response.type_url:  # for the keeper: Envoy has it all
                    session.whole(response.system_version_info)
                    continue
                session.sent(response)
                yield answer
        except grpc.aio.AioRpcError as error:
            log.warning("routing is gone: %s", error.details())
        except asyncio.CancelledError:
            if not mending.done():
                raise
            log.warning("a policy can be kept again: Envoy is to say what it has")
        finally:
            metrics.FOLLOWING.dec()
            forwarding.cancel()
            mending.cancel()
            routing.cancel()
            await asyncio.wait([forwarding, mending])

    async def _mend(self, routing: Any) -> None:
        """When nothing is kept since a write failed, end the stream once writing works: all is sent again then."""
        while True:
            if not self._shelf.sound and self._shelf.begun_anew():
                routing.cancel()
                return
            await asyncio.sleep(MEND_SECONDS)

    async def _stand_in(self, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        metrics.STOOD_IN.inc()
        log.warning("no routing answers: Envoy has the policy that is kept")
        due: asyncio.Queue[bytes | None] = asyncio.Queue()
        tasks = [asyncio.create_task(_answer(requests, StandIn(self._shelf), due)), asyncio.create_task(self._back())]
        for task in tasks:
            task.add_done_callback(lambda _: due.put_nowait(None))
        try:
            while (answer := await due.get()) is not None:
                yield answer
            for task in tasks:
                if task.done():
                    task.result()  # what ended the answering ends the stream
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _back(self) -> None:
        """Until a routing answers."""
        while True:
            routing = await self._open()
            if routing is not None:
                routing.cancel()
                return
            await asyncio.sleep(AGAIN_SECONDS)


async def _forward(requests: AsyncIterator[bytes], routing: Any, session: Session) -> None:
    # whoever reads routing's answers is told that it is gone
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        async for raw in requests:
            request = discovery_pb2.DeltaDiscoveryRequest.FromString(raw)
            session.hear(request)
            await routing.write(request.SerializeToString())
        await routing.done_writing()


async def _answer(requests: AsyncIterator[bytes], stand_in: StandIn, due: asyncio.Queue[bytes | None]) -> None:
    async for raw in requests:
        for response in stand_in.answer(discovery_pb2.DeltaDiscoveryRequest.FromString(raw)):
            due.put_nowait(response.SerializeToString())
