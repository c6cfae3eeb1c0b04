"""The ADS server: brings every connected Envoy to the published snapshot, and knows what each has acknowledged."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import grpc
from prometheus_client import Counter, Gauge

from libs.clock import Clock
from services.routing.domain.proxies import Proxy, Rejection
from services.routing.domain.snapshot import Snapshot
from services.routing.xds.conversation import Conversation, Request, Resources, Response
from services.routing.xds.messages import AdsServicer, DeltaDiscoveryResponse, add_ads
from services.routing.xds.resources import without_policy
from services.routing.xds.routes import table_name

log = logging.getLogger(__name__)

CONNECTED = Gauge("penstock_ads_proxies", "Envoys with an open ADS stream.")
SENT = Counter("penstock_ads_resources_sent", "Resources sent to Envoys.", ["type"])
ACCEPTED = Counter("penstock_ads_acknowledgements", "Responses that an Envoy accepted.", ["type"])
REFUSED = Counter("penstock_ads_rejections", "Responses that an Envoy refused; it keeps what it had.", ["type"])

LINGER_SECONDS = 10.0
"""A cluster that no route names any more is kept so long: calls in flight may still be retried on it."""

KEEPER, POLICY = "x-penstock-keeper", "x-penstock-policy"
"""Metadata of a stream: that a keeper reads along (deploy/envoy/keeper), and which policy there is, empty for none."""
WHOLE = Response("", "", {})
"""Tells a keeper that its Envoy has acknowledged all of the policy. An Envoy would not understand it."""

_InForce = list[tuple[Snapshot, bool, frozenset[str]]]
"""Snapshots that an Envoy runs, newest first; whether the whole of it, and which tables have not reached it."""


class Ads:
    """Belongs to one event loop. The first snapshot is awaited: an Envoy is never told that there is nothing."""

    def __init__(self, clock: Clock, *, authentication: bool = False, linger_seconds: float = LINGER_SECONDS) -> None:
        self._clock = clock
        self._authentication = authentication
        self._linger = linger_seconds
        self._newest: Snapshot | None = None
        self._streams: dict[str, _Stream] = {}
        self._proxies: dict[str, Proxy] = {}
        self._acknowledged: dict[str, _InForce] = {}

    def register(self, server: grpc.aio.Server) -> None:
        add_ads(_Servicer(self), server)

    def publish(self, snapshot: Snapshot) -> None:
        """Make it the policy of every Envoy, those connected now and those to come."""
        self._newest = snapshot
        for name, stream in self._streams.items():
            stream.aim(snapshot)
            self._note(name, stream)  # where nothing differs nothing is sent, and nobody will acknowledge it

    @property
    def revision(self) -> str:
        """Of the published snapshot; empty before the first."""
        return self._newest.revision if self._newest else ""

    def proxies(self) -> Sequence[Proxy]:
        return [self._proxies[name] for name in sorted(self._proxies)]

    def acknowledged(self, proxy: str, model: str = "") -> tuple[str, Snapshot] | None:
        names = [proxy] if proxy else sorted(self._acknowledged, key=lambda n: (not self._proxies[n].connected, n))
        for name in names:
            for snapshot, whole, held in self._acknowledged.get(name, ()):
                if whole or (model and table_name(model) not in held):
                    return name, snapshot
        return None

    async def serve(self, requests: AsyncIterator[Any], *, kept: bool = False) -> AsyncIterator[Any]:
        """One stream, from Envoy's first request, which names it, to its end. Raises what reading raises.

        `kept`: a keeper is told whenever Envoy has all of a policy.
        """
        first = await anext(requests, None)
        if first is None:
            return
        name = first.node.id
        stream = _Stream(self._linger, without_policy(authentication=self._authentication), kept=kept)
        if self._newest is not None:
            stream.aim(self._newest)
        self._arrive(name, first.node, stream)
        reading = asyncio.create_task(self._read(name, stream, first, requests))
        try:
            async for response in stream.responses(reading):
                if response is not WHOLE:
                    SENT.labels(_short(response.type_url)).inc(len(response.resources))
                yield _encoded(response, self.revision)
                self._note(name, stream)
            if not reading.cancelled():
                reading.result()  # what ended the reading ends the stream: a malformed request is no orderly end
        finally:
            reading.cancel()
            await asyncio.wait([reading])
            self._leave(name, stream)

    async def _read(self, name: str, stream: "_Stream", first: Any, requests: AsyncIterator[Any]) -> None:
        self._hear(name, stream, first)
        async for request in requests:
            self._hear(name, stream, request)

    def _hear(self, name: str, stream: "_Stream", message: Any) -> None:
        request = _decoded(message)
        answered = stream.hear(request)
        if answered is not None:
            self._judge(name, stream, answered, request.error)
        self._note(name, stream)

    def _judge(self, name: str, stream: "_Stream", answered: Response, error: str | None) -> None:
        others = tuple(r for r in self._proxies[name].rejections if r.type_url != answered.type_url)
        if error is not None:
            log.error("%s refused %s of %s: %s", name, _short(answered.type_url), sorted(answered.resources), error)
            REFUSED.labels(_short(answered.type_url)).inc()
            others = (*others, Rejection(answered.type_url, error, self._clock.now()))
        else:
            ACCEPTED.labels(_short(answered.type_url)).inc()
            if stream.refuses(answered.type_url):
                return  # it accepts others; what it refused still stands
        self._proxies[name] = replace(self._proxies[name], rejections=others)

    def _note(self, name: str, stream: "_Stream") -> None:
        snapshot = stream.snapshot
        if snapshot is None or self._streams.get(name) is not stream:
            return
        proxy = self._proxies[name]
        if proxy.sent_revision != snapshot.revision:
            proxy = replace(proxy, sent_revision=snapshot.revision)
        if stream.settled and proxy.acknowledged_revision != snapshot.revision:
            proxy = replace(proxy, acknowledged_revision=snapshot.revision, acknowledge_time=self._clock.now())
            log.info("%s runs policy %s", name, snapshot.revision)
        if stream.at_rest:
            self._acknowledged[name] = _renewed(self._acknowledged.get(name, []), snapshot, stream)
        if stream.settled:
            proxy = replace(proxy, rejections=())  # nothing of what it refused is wanted any more
        self._proxies[name] = proxy

    def _arrive(self, name: str, node: Any, stream: "_Stream") -> None:
        version = node.user_agent_build_version.version
        told = f"{version.major_number}.{version.minor_number}.{version.patch}"
        self._streams[name] = stream
        self._proxies[name] = Proxy(name, told, connected=True, connect_time=self._clock.now())
        CONNECTED.set(len(self._streams))
        log.info("%s (Envoy %s) is connected", name, told)

    def _leave(self, name: str, stream: "_Stream") -> None:
        if self._streams.get(name) is stream:  # else it has connected again meanwhile
            del self._streams[name]
            self._proxies[name] = replace(self._proxies[name], connected=False)
            log.info("%s is gone", name)
        CONNECTED.set(len(self._streams))


class _Stream:
    """One Envoy's conversation, driven: a change of the target or a request wakes it."""

    def __init__(self, linger: float, before: Resources, *, kept: bool) -> None:
        self.snapshot: Snapshot | None = None
        self._kept = kept
        self._told = ""
        self._conversation = Conversation()
        self._conversation.aim(before, whole=False)
        self._linger = linger
        self._news = asyncio.Event()

    @property
    def settled(self) -> bool:
        return self._conversation.settled

    @property
    def at_rest(self) -> bool:
        return self._conversation.at_rest

    @property
    def held(self) -> frozenset[str]:
        return self._conversation.held

    def refuses(self, url: str) -> bool:
        return self._conversation.refuses(url)

    def aim(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._conversation.aim(snapshot.resources, whole=True)
        self._news.set()

    def hear(self, request: Request) -> Response | None:
        answered = self._conversation.hear(request)
        self._news.set()
        return answered

    async def responses(self, reading: asyncio.Task[None]) -> AsyncIterator[Response]:
        """What is to be sent, as it becomes due; ends with the task that reads Envoy's requests."""
        reading.add_done_callback(lambda _: self._news.set())
        while not reading.done():
            self._news.clear()
            for response in self._conversation.next():
                yield response
            if self._kept and self.settled and self.snapshot and self._told != self.snapshot.revision:
                self._told = self.snapshot.revision
                yield WHOLE
            try:
                # what is left over may go once nothing has changed for a while
                async with asyncio.timeout(self._linger if self.settled else None):
                    await self._news.wait()
            except TimeoutError:
                for response in self._conversation.sweep():
                    yield response


class _Servicer(AdsServicer):
    """Envoy's side of it: delta only."""

    def __init__(self, ads: Ads) -> None:
        self._ads = ads

    async def DeltaAggregatedResources(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802  gRPC names it
        kept = any(key == KEEPER for key, _ in context.invocation_metadata() or ())
        await context.send_initial_metadata(((POLICY, self._ads.revision),))
        async for response in self._ads.serve(requests, kept=kept):
            yield response


def _renewed(before: _InForce, newest: Snapshot, stream: _Stream) -> _InForce:
    """With older snapshots as long as they tell of a table that newer ones have not reached, back to a whole one."""
    kept: _InForce = [(newest, stream.settled, stream.held)]
    unreached = stream.held
    for snapshot, whole, held in before:
        if kept[-1][1]:
            break
        if snapshot is not newest and (whole or unreached - held):
            kept.append((snapshot, whole, held))
            unreached &= held
    return kept


def _decoded(message: Any) -> Request:
    return Request(
        message.type_url,
        tuple(message.resource_names_subscribe),
        tuple(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
        message.response_nonce,
        message.error_detail.message if message.HasField("error_detail") else None,
    )


def _encoded(response: Response, revision: str) -> Any:
    resources: list[Mapping[str, Any]] = [
        {"name": name, "version": r.version, "resource": {"type_url": response.type_url, "value": r.body}}
        for name, r in response.resources.items()
    ]
    return DeltaDiscoveryResponse(
        system_version_info=revision,
        resources=resources,
        type_url=response.type_url,
        removed_resources=response.removed,
        nonce=response.nonce,
    )


def _short(url: str) -> str:
    return url.rpartition(".")[2]
