"""What one Envoy has, asks for and must be sent next. Pure: no stream, no clock of its own.

The order is what keeps calls from failing: clusters, then their endpoints, then the scopes and tables that name them,
each acknowledged before the next; what is gone is taken from the scopes first, from the clusters last and later.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from services.routing.domain.snapshot import Resource
from services.routing.xds.resources import CDS, EDS, RDS, SRDS

Resources = Mapping[str, Mapping[str, Resource]]
RESPONSE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A DeltaDiscoveryRequest without what is only about the stream."""

    type_url: str
    subscribe: Sequence[str] = ()
    unsubscribe: Sequence[str] = ()
    had: Mapping[str, str] = field(default_factory=dict[str, str])
    nonce: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Response:
    """Resources of one type to set and to remove."""

    type_url: str
    nonce: str
    resources: Mapping[str, Resource]
    removed: tuple[str, ...] = ()


@dataclass(slots=True)
class _Type:
    """`sent` holds the versions that Envoy has, or will have once it acknowledges. `asked` are names it waits for."""

    known: bool = False
    wildcard: bool = False
    names: set[str] = field(default_factory=set[str])
    sent: dict[str, str] = field(default_factory=dict[str, str])
    asked: set[str] = field(default_factory=set[str])


class Conversation:
    """With one Envoy, over one stream."""

    def __init__(self) -> None:
        self._types = {url: _Type() for url in (CDS, EDS, SRDS, RDS)}
        self._in_flight: dict[str, Response] = {}
        self._count = 0
        self._target: Resources = {}
        self._whole = False
        self._refused = False

    def aim(self, target: Resources, *, whole: bool) -> None:
        """Bring Envoy to these resources. Unless they are the whole policy, nothing is ever removed for them."""
        self._target, self._whole = target, whole
        self._refused = False

    def hear(self, request: Request) -> Response | None:
        """Take in a request. Returns the response that it accepts or refuses; None when it is about neither."""
        known = self._types.get(request.type_url)
        if known is None:
            return None
        if not known.known:
            known.known = True
            known.sent = dict(request.had)
            # of these two Envoy asks for everything, by an empty list in the first request of a stream
            known.wildcard = request.type_url in (CDS, SRDS)
            known.asked = set(request.subscribe) - {"*"} - request.had.keys()
        else:
            known.asked |= set(request.subscribe) - {"*"}
        known.names = (known.names | set(request.subscribe)) - set(request.unsubscribe) - {"*"}
        if not known.wildcard:
            for name in request.unsubscribe:
                known.sent.pop(name, None)
                known.asked.discard(name)
        answered = self._in_flight.pop(request.nonce, None)
        if answered is not None and request.error is not None:
            self._refused = True
            for name in answered.resources:  # Envoy keeps what it had: try again with the next policy
                known.sent.pop(name, None)
        return answered

    @property
    def refused(self) -> bool:
        """Whether Envoy has refused something of what is aimed at."""
        return self._refused

    @property
    def settled(self) -> bool:
        """Whether Envoy has acknowledged everything that it is to have. It may have more, to be removed later."""
        if self._in_flight or self._refused or not self._whole:
            return False
        if not (self._types[CDS].known and self._types[SRDS].known):
            return False
        return not any(self._missing(url) for url in (CDS, EDS, SRDS, RDS)) and self._endpoints_known()

    def next(self) -> list[Response]:
        """What to send now; empty while Envoy still has something to acknowledge, or has all."""
        if not self._refused and CDS not in self._waiting():
            clusters = list(self._send(CDS, self._missing(CDS)))
            if clusters:
                return clusters
        # Envoy acknowledges a new cluster only once it has its endpoints; and they stay true where a policy is stuck
        endpoints = list(self._send(EDS, self._missing(EDS)))
        if endpoints or self._refused or self._in_flight or not self._endpoints_known():
            return endpoints
        return [*self._send(SRDS, self._missing(SRDS), self._surplus(SRDS)), *self._send(RDS, self._missing(RDS))]

    def sweep(self) -> list[Response]:
        """Remove the clusters that no route names any more. Only once settled, and some time after."""
        return list(self._send(CDS, {}, self._surplus(CDS))) if self.settled else []

    def _waiting(self) -> set[str]:
        return {response.type_url for response in self._in_flight.values()}

    def _wanted(self, url: str) -> Iterable[str]:
        known = self._types[url]
        return self._target.get(url, {}) if known.wildcard else known.names

    def _missing(self, url: str) -> dict[str, Resource | None]:
        """By name, what Envoy wants and has not; None where what it waits for does not exist."""
        known = self._types[url]
        if not known.known:
            return {}
        target = self._target.get(url, {})
        missing: dict[str, Resource | None] = {}
        for name in self._wanted(url):
            resource = target.get(name)
            if resource is None:
                if name in known.asked and self._whole:
                    missing[name] = None
            elif known.sent.get(name) != resource.version or name in known.asked:
                missing[name] = resource
        return missing

    def _surplus(self, url: str) -> tuple[str, ...]:
        if not self._whole:
            return ()
        return tuple(sorted(self._types[url].sent.keys() - self._target.get(url, {}).keys()))

    def _endpoints_known(self) -> bool:
        """A cluster serves once it has its endpoints; Envoy asks for them when it has the cluster."""
        sent = self._types[EDS].sent
        return all(name in sent for name in self._target.get(EDS, {}))

    def _send(
        self, url: str, missing: Mapping[str, Resource | None], removed: tuple[str, ...] = ()
    ) -> Iterator[Response]:
        known = self._types[url]
        removed += tuple(sorted(name for name, resource in missing.items() if resource is None))
        present = {name: resource for name, resource in missing.items() if resource is not None}
        for name in removed:
            known.sent.pop(name, None)
        for name, resource in present.items():
            known.sent[name] = resource.version
            if url == CDS:  # Envoy warms a changed cluster until its endpoints are sent again
                self._types[EDS].sent.pop(name, None)
        known.asked -= missing.keys()
        for part in _parts(present):
            yield self._response(url, part, removed)
            removed = ()
        if removed:
            yield self._response(url, {}, removed)

    def _response(self, url: str, resources: Mapping[str, Resource], removed: tuple[str, ...]) -> Response:
        self._count += 1
        response = Response(url, str(self._count), resources, removed)
        self._in_flight[response.nonce] = response
        return response


def _parts(resources: Mapping[str, Resource]) -> Iterator[dict[str, Resource]]:
    part: dict[str, Resource] = {}
    size = 0
    for name, resource in resources.items():
        if part and size + len(resource.body) > RESPONSE_BYTES:
            yield part
            part, size = {}, 0
        part[name] = resource
        size += len(resource.body)
    if part:
        yield part
