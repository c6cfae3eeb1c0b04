"""The answers of a policy server that has nothing but the shelf."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2

from deploy.envoy.keeper.shelf import Kept, Shelf

RESPONSE_BYTES = 1024 * 1024


class StandIn:
    """For one stream. Gives an Envoy what it lacks and never anything for what it has: that may be newer."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._known: set[str] = set()
        self._count = 0

    def answer(self, request: Any) -> Iterator[Any]:
        """DeltaDiscoveryResponses; none for an acknowledgement."""
        url = request.type_url
        first = url not in self._known
        self._known.add(url)
        asked = set(request.resource_names_subscribe)
        everything = "*" in asked or (first and not asked)
        wanted = (self._shelf.versions(url).keys() if everything else asked) - {"*"}
        wanted -= request.initial_resource_versions.keys()
        found: list[Kept] = []
        size = 0
        for kept in self._shelf.read(url, sorted(wanted)):
            if found and size + len(kept.body) > RESPONSE_BYTES:
                yield self._response(url, found)
                found, size = [], 0
            found.append(kept)
            size += len(kept.body)
        # Envoy waits for what it asks for until it hears that there is none
        missing = sorted(wanted - self._shelf.versions(url).keys())
        if found or missing or (first and everything and not request.initial_resource_versions):
            yield self._response(url, found, missing)

    def _response(self, url: str, resources: list[Kept], missing: list[str] | tuple[()] = ()) -> Any:
        self._count += 1
        return discovery_pb2.DeltaDiscoveryResponse(
            type_url=url,
            nonce=f"kept-{self._count}",
            resources=[discovery_pb2.Resource.FromString(kept.body) for kept in resources],
            removed_resources=missing,
        )
