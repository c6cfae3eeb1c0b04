"""What one Envoy has, asks for and must be sent next. Pure: no stream, no clock of its own.

The order is what keeps calls from failing: clusters, then their endpoints, then the scopes and tables that name them,
each acknowledged before the next; what is gone is taken from the scopes first, from the clusters last and later.

What Envoy refuses is not sent again before it is another. Of a response with several resources each is then sent alone,
for Envoy does not say which one it means. Only what needs the refused one waits with it.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from services.routing.domain.snapshot import Resource
from services.routing.xds.resources import CDS, ECDS, EDS, RDS, SRDS

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
    """`sent` holds the versions that Envoy has, or will have once it acknowledges; an empty one is not known.

    `asked` are names it waits for, `refused` the versions that it would not take, `alone` the names that were in a
    refused response. `open` are the names to look at: every one of which Envoy may lack the version that is aimed at,
    or have one though none is.
    """

    known: bool = False
    wildcard: bool = False
    names: set[str] = field(default_factory=set[str])
    sent: dict[str, str] = field(default_factory=dict[str, str])
    asked: set[str] = field(default_factory=set[str])
    refused: dict[str, str] = field(default_factory=dict[str, str])
    alone: set[str] = field(default_factory=set[str])
    open: set[str] = field(default_factory=set[str])

    def refuse(self, answered: Response) -> None:
        """Envoy keeps what it had: of some things in this response an older version, of others nothing."""
        several = len(answered.resources) > 1
        for name, resource in answered.resources.items():
            self._forget(name)
            if several:
                self.alone.add(name)
            else:
                self.alone.discard(name)
                self.refused[name] = resource.version
        if answered.resources:
            for name in answered.removed:
                self._forget(name)

    def accept(self, answered: Response) -> None:
        self.alone.difference_update(answered.resources)

    def _forget(self, name: str) -> None:
        self.open.add(name)
        if self.wildcard:  # it must be removed when it is gone, should Envoy have it
            self.sent[name] = ""
        else:
            self.sent.pop(name, None)


class Conversation:
    """With one Envoy, over one stream."""

    def __init__(self) -> None:
        self._types = {url: _Type() for url in (ECDS, CDS, EDS, SRDS, RDS)}
        self._in_flight: dict[str, Response] = {}
        self._count = 0
        self._target: Resources = {}
        self._whole = False
        self._refused: Mapping[str, set[str]] = {}
        self._stuck: frozenset[str] = frozenset()

    def aim(self, target: Resources, *, whole: bool) -> None:
        """Bring Envoy to these resources. Unless they are the whole policy, nothing is ever removed for them."""
        for url, known in self._types.items():
            known.open |= _differing(self._target.get(url, {}), target.get(url, {}))
        self._target, self._whole = target, whole
        self._hold_back()

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
            known.open |= request.had.keys()
        else:
            known.asked |= set(request.subscribe) - {"*"}
        known.open |= known.asked
        known.names = (known.names | set(request.subscribe)) - set(request.unsubscribe) - {"*"}
        if not known.wildcard:
            for name in request.unsubscribe:
                known.sent.pop(name, None)
                known.asked.discard(name)
                known.open.add(name)
        answered = self._in_flight.pop(request.nonce, None)
        if answered is None:
            return None
        if request.error is None:
            known.accept(answered)
        else:
            known.refuse(answered)
            self._hold_back()
        return answered

    def refuses(self, url: str) -> bool:
        """Whether Envoy has refused something of this type that is aimed at."""
        return bool(self._refused.get(url))

    @property
    def held(self) -> frozenset[str]:
        """The route tables that are kept from Envoy, or by it, because of what it refuses."""
        return (self._stuck | self._refused.get(SRDS, set())) & self._target.get(RDS, {}).keys()

    @property
    def settled(self) -> bool:
        """Whether Envoy has acknowledged everything that it is to have. It may have more, to be removed later."""
        return self.at_rest and not any(self._refused.values())

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to wait for: Envoy has acknowledged all but what it refuses and what needs that."""
        if self._in_flight or not self._whole:
            return False
        if not (self._types[CDS].known and self._types[SRDS].known):
            return False
        return not any(self._missing(url) for url in (ECDS, CDS, EDS, SRDS, RDS)) and self._endpoints_known()

    def next(self) -> list[Response]:
        """What to send now; empty while Envoy still has something to acknowledge, or has all."""
        access = list(self._send(ECDS, self._missing(ECDS)))  # it depends on nothing, and nothing on it
        return [*access, *self._next_policy()]

    def _next_policy(self) -> list[Response]:
        if CDS not in self._waiting():
            clusters = list(self._send(CDS, self._missing(CDS)))
            if clusters:
                return clusters
        # Envoy acknowledges a new cluster only once it has its endpoints
        endpoints = list(self._send(EDS, self._missing(EDS)))
        if endpoints or self._in_flight or not self._endpoints_known():
            return endpoints
        return [*self._send(SRDS, self._missing(SRDS), self._surplus(SRDS)), *self._send(RDS, self._missing(RDS))]

    def sweep(self) -> list[Response]:
        """Remove the clusters that no route names any more. Only once settled, and some time after."""
        return list(self._send(CDS, {}, self._surplus(CDS))) if self.settled else []

    def _hold_back(self) -> None:
        refused = {
            url: {name for name, version in known.refused.items() if self._aimed(url, name) == version}
            for url, known in self._types.items()
        }
        self._refused = refused
        stuck = refused[CDS] | refused[EDS] | refused[RDS]
        if stuck:
            for url in (CDS, RDS):  # a chain needs its sets, a table its chains
                stuck |= {n for n, r in self._target.get(url, {}).items() if not stuck.isdisjoint(r.needs)}
        self._stuck = frozenset(stuck)

    def _aimed(self, url: str, name: str) -> str | None:
        resource = self._target.get(url, {}).get(name)
        return resource.version if resource else None

    def _waiting(self) -> set[str]:
        return {response.type_url for response in self._in_flight.values()}

    def _missing(self, url: str) -> dict[str, Resource | None]:
        """By name, what Envoy wants and has not; None where what it waits for does not exist."""
        known, target = self._types[url], self._target.get(url, {})
        if not known.known:
            return {}
        missing: dict[str, Resource | None] = {}
        for name in sorted(known.open):
            resource = target.get(name)
            if self._done(url, name, resource):
                known.open.discard(name)
            elif not known.wildcard and name not in known.names:
                continue
            elif resource is None:
                if name in known.asked and self._whole:
                    missing[name] = None
            elif known.refused.get(name) != resource.version and self._stuck.isdisjoint(resource.needs):
                missing[name] = resource
        return missing

    def _done(self, url: str, name: str, resource: Resource | None) -> bool:
        known = self._types[url]
        aimed = None if resource is None else resource.version
        return known.sent.get(name) == aimed and name not in known.asked

    def _surplus(self, url: str) -> tuple[str, ...]:
        if not self._whole:
            return ()
        known, target = self._types[url], self._target.get(url, {})
        return tuple(sorted(name for name in known.open if name in known.sent and name not in target))

    def _endpoints_known(self) -> bool:
        """A cluster serves once it has its endpoints; Envoy asks for them when it has the cluster."""
        known, target = self._types[EDS], self._target.get(EDS, {})
        return all(name in known.sent or name in self._stuck or name not in target for name in known.open)

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
                self._types[EDS].open.add(name)
        known.asked -= missing.keys()
        # what Envoy has refused for a filter it accepts when it comes again, and goes on with what it had: which of
        # several it means could not be found out later
        for part in _parts(present, present.keys() if url == ECDS else known.alone):
            yield self._response(url, part, removed)
            removed = ()
        if removed:
            yield self._response(url, {}, removed)

    def _response(self, url: str, resources: Mapping[str, Resource], removed: tuple[str, ...]) -> Response:
        self._count += 1
        response = Response(url, str(self._count), resources, removed)
        self._in_flight[response.nonce] = response
        return response


def _differing(before: Mapping[str, Resource], after: Mapping[str, Resource]) -> set[str]:
    """What is the same object in both is most of it, and costs least."""
    return {name for name, resource in after.items() if before.get(name) is not resource} | (before.keys() - after)


def _parts(resources: Mapping[str, Resource], alone: AbstractSet[str]) -> Iterator[dict[str, Resource]]:
    part: dict[str, Resource] = {}
    size = 0
    for name, resource in resources.items():
        if name in alone:
            yield {name: resource}
            continue
        if part and size + len(resource.body) > RESPONSE_BYTES:
            yield part
            part, size = {}, 0
        part[name] = resource
        size += len(resource.body)
    if part:
        yield part
