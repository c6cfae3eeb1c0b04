"""proxies: which policy each Envoy has, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from clients.cli.pages import every
from clients.cli.session import Session, session
from clients.cli.snapshot import when
from clients.cli.watching import Watch, look
from penstock.routing.v1.proxy_pb2 import Proxy
from penstock.routing.v1.routing_service_pb2 import ListProxiesRequest


def proxies(context: typer.Context, watch: Watch = False) -> None:
    """Every Envoy: which policy it has, and what it refuses."""
    at = session(context)
    for found in look(
        at, lambda: list(every(at.penstock.routing.ListProxies, ListProxiesRequest(), "proxies")), on=watch
    ):
        _show(at, found)


def _show(at: Session, found: Sequence[Proxy]) -> None:
    rows = [(p.id, p.envoy_version, _state(p), p.sent_revision, p.acknowledged_revision) for p in found]
    at.table(("proxy", "Envoy", "state", "sent", "runs"), rows, "No Envoy has connected yet.")
    refused = [(p.id, rejection) for p in found for rejection in p.rejections]
    for name, rejection in refused:
        kind = rejection.type_url.rpartition(".")[2]
        at.console.print(f"\n{name} refused {kind} at {when(rejection.time)}, and keeps what it had:")
        at.console.print(f"  {rejection.message}")
    if refused:
        at.console.print("\n`penstock snapshot list` shows what changed; `penstock snapshot rollback N` goes back.")


def _state(proxy: Proxy) -> str:
    if not proxy.connected:
        return "gone"
    if proxy.rejections:
        return "refuses"
    return "in step" if proxy.sent_revision == proxy.acknowledged_revision else "behind"
