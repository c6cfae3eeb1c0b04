"""RoutingService: routes, and what became of them in Envoy."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from prometheus_client import Gauge

from libs.clock import Clock
from libs.errors import NotFound, Unavailable, collecting
from libs.idempotency import once, once_after
from libs.identity import caller
from libs.paging import page
from libs.postgres import Database
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1.routing_service_pb2_grpc import RoutingServiceServicer
from services.routing.domain.explain import explain
from services.routing.domain.policy import Route
from services.routing.domain.proxies import Proxies
from services.routing.domain.routes import RouteStore, check_model, check_route, check_unit
from services.routing.domain.snapshot import Snapshot
from services.routing.servers import messages
from services.routing.servers.selections import Selector
from services.routing.servers.snapshots import Snapshots

REJECTED = Gauge("penstock_policy_rejected", "Connected Envoys that refuse something of the policy.")


class Policies(Protocol):
    @property
    def newest(self) -> Snapshot | None:
        """What was compiled last."""
        ...


class RoutingServicer(RoutingServiceServicer):
    """Decodes, asks the store or the policy, encodes. `export` writes a snapshot as YAML.

    `require_existing` refuses a route (given with the one before) that names what does not exist.
    """

    def __init__(
        self,
        *,
        database: Database,
        routes: RouteStore,
        proxies: Proxies,
        policies: Policies,
        export: Callable[[Snapshot], str],
        require_existing: Callable[[Route, Route | None], Awaitable[None]],
        snapshots: Snapshots,
        selector: Selector,
        clock: Clock,
    ) -> None:
        self._database = database
        self._routes = routes
        self._proxies = proxies
        self._policies = policies
        self._export = export
        self._require_existing = require_existing
        self._snapshots = snapshots
        self._selector = selector
        self._clock = clock
        REJECTED.set_function(lambda: sum(p.connected and bool(p.rejections) for p in proxies.proxies()))

    async def CreateRoute(self, request: pb.CreateRouteRequest, context: Any) -> pb.CreateRouteResponse:
        with collecting() as faults:
            route = messages.decode_route(request.route, faults)
            check_route(route, faults)

        async def ask() -> None:
            await self._require_existing(route, None)

        async def perform(_: None) -> pb.CreateRouteResponse:
            stored = await self._routes.create(route, self._clock.now())
            await self._snapshots.wrote({route.model: stored.route})
            return pb.CreateRouteResponse(route=messages.encode_stored(stored))

        return await once_after(self._database, request, ask, pb.CreateRouteResponse, perform)

    async def GetRoute(self, request: pb.GetRouteRequest, context: Any) -> pb.GetRouteResponse:
        with collecting() as faults:
            check_model(request.model, "model", faults)
        return pb.GetRouteResponse(route=messages.encode_stored(await self._routes.get(request.model)))

    async def ListRoutes(self, request: pb.ListRoutesRequest, context: Any) -> pb.ListRoutesResponse:
        asked = page(request.page_size, request.page_token)
        found = await self._routes.list("".join(asked.after), asked.lookahead)
        kept, token = asked.split(found, lambda stored: (stored.route.model,))
        return pb.ListRoutesResponse(routes=[messages.encode_stored(stored) for stored in kept], next_page_token=token)

    async def UpdateRoute(self, request: pb.UpdateRouteRequest, context: Any) -> pb.UpdateRouteResponse:
        with collecting() as faults:
            check_model(request.route.model, "route.model", faults)

        def change(current: Route) -> Route:
            with collecting() as faults:
                route = messages.merge_route(current, request.route, request.update_mask, faults)
                check_route(route, faults)
            return route

        async def ask() -> None:
            # what another names meanwhile was asked about by them: only the versions of this request are new
            before = (await self._routes.get(request.route.model)).route
            await self._require_existing(change(before), before)

        async def perform(_: None) -> pb.UpdateRouteResponse:
            now = self._clock.now()
            stored = await self._routes.change(request.route.model, request.route.etag, now, change)
            await self._snapshots.wrote({stored.route.model: stored.route})
            return pb.UpdateRouteResponse(route=messages.encode_stored(stored))

        return await once_after(self._database, request, ask, pb.UpdateRouteResponse, perform)

    async def DeleteRoute(self, request: pb.DeleteRouteRequest, context: Any) -> pb.DeleteRouteResponse:
        with collecting() as faults:
            check_model(request.model, "model", faults)

        async def perform() -> pb.DeleteRouteResponse:
            await self._routes.delete(request.model, request.etag)
            await self._snapshots.wrote({request.model: None})
            return pb.DeleteRouteResponse()

        return await once(self._database, request, pb.DeleteRouteResponse, perform)

    async def ExplainRoute(self, request: pb.ExplainRouteRequest, context: Any) -> pb.ExplainRouteResponse:
        with collecting() as faults:
            check_model(request.model, "model", faults)
            check_unit(request.unit, "unit", faults)
        if request.proxy and request.proxy not in {proxy.id for proxy in self._proxies.proxies()}:
            raise NotFound("PROXY_NOT_FOUND", f"no proxy is or was named {request.proxy!r}", proxy=request.proxy)
        found = self._proxies.acknowledged(request.proxy, request.model)
        if found is None:
            who = f"proxy {request.proxy!r} has acknowledged no" if request.proxy else "no proxy has acknowledged a"
            raise _not_ready(f"{who} policy yet")
        proxy, snapshot = found
        tenant = request.tenant or caller().tenant
        told = explain(snapshot.policy, request.model, request.unit, request.version, tenant)
        return pb.ExplainRouteResponse(explanation=messages.encode_explanation(told, proxy, snapshot.revision))

    async def SelectEndpoint(self, request: pb.SelectEndpointRequest, context: Any) -> pb.SelectEndpointResponse:
        with collecting() as faults:
            check_model(request.model, "model", faults)
            check_unit(request.unit, "unit", faults)
        newest = self._policies.newest
        if newest is None:
            raise _not_ready("no policy has been compiled yet")
        return pb.SelectEndpointResponse(selection=self._selector.select(request, newest))

    async def ListProxies(self, request: pb.ListProxiesRequest, context: Any) -> pb.ListProxiesResponse:
        asked = page(request.page_size, request.page_token)
        after = "".join(asked.after)
        found = [proxy for proxy in self._proxies.proxies() if proxy.id > after][: asked.lookahead]
        kept, token = asked.split(found, lambda proxy: (proxy.id,))
        return pb.ListProxiesResponse(proxies=[messages.encode_proxy(proxy) for proxy in kept], next_page_token=token)

    async def ExportPolicy(self, request: pb.ExportPolicyRequest, context: Any) -> pb.ExportPolicyResponse:
        newest = self._policies.newest
        if newest is None:
            raise _not_ready("no policy has been compiled yet")
        return pb.ExportPolicyResponse(revision=newest.revision, yaml=await asyncio.to_thread(self._export, newest))

    async def ListSnapshots(self, request: pb.ListSnapshotsRequest, context: Any) -> pb.ListSnapshotsResponse:
        return await self._snapshots.list(request)

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, context: Any) -> pb.GetSnapshotResponse:
        return await self._snapshots.get(request)

    async def DiffSnapshots(self, request: pb.DiffSnapshotsRequest, context: Any) -> pb.DiffSnapshotsResponse:
        return await self._snapshots.diff(request)

    async def RollbackSnapshot(self, request: pb.RollbackSnapshotRequest, context: Any) -> pb.RollbackSnapshotResponse:
        return await self._snapshots.rollback(request)


def _not_ready(message: str) -> Unavailable:
    return Unavailable("POLICY_NOT_READY", message, retry_after_seconds=1)
