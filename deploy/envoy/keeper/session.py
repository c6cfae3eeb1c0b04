"""What one stream between Envoy and routing says about what Envoy has."""

from __future__ import annotations

import logging
import sqlite3
from typing import Any

from deploy.envoy.keeper import metrics
from deploy.envoy.keeper.shelf import Kept, Shelf

log = logging.getLogger(__name__)


class Session:
    """Reads along and keeps what Envoy acknowledges. Knows no type of resource: what routing pushes is kept."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._in_flight: dict[str, Any] = {}
        self._held: dict[str, set[str]] = {}

    def hear(self, request: Any) -> None:
        """A DeltaDiscoveryRequest on its way to routing, which this may change.

        What Envoy has and the shelf has not must be sent again to be kept: its version becomes one that nothing has.
        """
        url = request.type_url
        if url not in self._held:
            kept, had = self._shelf.versions(url), request.initial_resource_versions
            self._held[url] = set(had)
            for name in [name for name, version in had.items() if kept.get(name) != version]:
                had[name] = ""
        self._held[url].difference_update(request.resource_names_unsubscribe)
        answered = self._in_flight.pop(request.response_nonce, None)
        if answered is not None and not request.HasField("error_detail"):
            self._keep(answered)

    def sent(self, response: Any) -> None:
        """A DeltaDiscoveryResponse on its way to Envoy."""
        self._in_flight[response.nonce] = response

    def whole(self, revision: str) -> None:
        """Envoy has all of this policy. What it was neither sent nor had when it came is of an older one."""
        try:
            self._shelf.retain(self._held)
        except sqlite3.Error as error:
            metrics.UNKEPT.inc()
            log.error("what is gone from the policy stays kept: %s", error)  # noqa: TRY400  the trace says no more
        else:
            log.info("policy %s is kept", revision)

    def _keep(self, response: Any) -> None:
        removed = set(response.removed_resources)
        put = [Kept(each.name, each.version, each.SerializeToString()) for each in response.resources]
        try:
            self._shelf.change(response.type_url, put, removed)
        except sqlite3.Error as error:
            metrics.UNKEPT.inc()
            log.error("%d resources are not kept: %s", len(put), error)  # noqa: TRY400  the trace says no more
        held = self._held[response.type_url]
        held.difference_update(removed)
        held.update(each.name for each in put)
