"""route: how calls to a model are served."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import typer
from google.protobuf.duration_pb2 import Duration

from clients.cli.pages import every
from clients.cli.session import Session, session
from clients.cli.watching import Watch, look
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1.route_pb2 import LoadBalancing, Mirror, Route
from penstock.routing.v1.selection_pb2 import METHOD_CONSISTENT_HASH, METHOD_DRAWN, METHOD_RING

NONE = "none"
WHOLE = 10_000
BALANCE = "LOAD_BALANCING_"
METHODS = {
    METHOD_RING: "on Envoy's ring: Envoy takes the same",
    METHOD_CONSISTENT_HASH: "by consistent hash: Envoy may take another one of them",
    METHOD_DRAWN: "at random, for want of a key",
}
app = typer.Typer(help="How calls to a model are served.", no_args_is_help=True)

Version = Annotated[str, typer.Option(help="the version that serves whoever is in no experiment")]
Fallback = Annotated[list[str], typer.Option(help="tried in this order when the chosen version fails")]
Balance = Annotated[str, typer.Option(help="round-robin, least-request, ring-hash or weighted-response-time")]
Timeout = Annotated[float, typer.Option(help="seconds a call may take, if the caller sets no deadline")]
PerTry = Annotated[float, typer.Option(help="seconds one attempt may take; half of the timeout if it is not given")]
BackOff = Annotated[float, typer.Option(help="seconds between two attempts, growing tenfold")]
MaxCalls = Annotated[int, typer.Option(help="calls under way at once, for each Envoy; 0 leaves it")]
MaxWaiting = Annotated[int, typer.Option(help="calls that wait behind them; -1 leaves it")]
MaxBytes = Annotated[int, typer.Option("--max-message-bytes", help="bytes of one message; 0: 67 MiB, -1 leaves it")]
Mirrored = Annotated[
    str, typer.Option("--mirror", help="a version that gets copies of a part of the calls: 2:5%; `none` ends it")
]
Retries = Annotated[int, typer.Option(help="attempts after the first; -1 leaves it")]


@app.command()
def create(
    context: typer.Context,
    model: str,
    version: Version,
    fallback: Fallback = [],
    balance: Balance = "",
    timeout: Timeout = 0,
    per_try_timeout: PerTry = 0,
    retries: Retries = -1,
    back_off: BackOff = 0,
    mirror: Mirrored = "",
    max_calls: MaxCalls = 0,
    max_waiting: MaxWaiting = -1,
    max_message_bytes: MaxBytes = -1,
) -> None:
    """Make a model callable."""
    at = session(context)
    route, _ = _route(context.params)
    _show(at, [at.penstock.routing.CreateRoute(pb.CreateRouteRequest(route=route)).route])


@app.command()
def update(
    context: typer.Context,
    model: str,
    version: Version = "",
    fallback: Fallback = [],
    balance: Balance = "",
    timeout: Timeout = 0,
    per_try_timeout: PerTry = 0,
    retries: Retries = -1,
    back_off: BackOff = 0,
    mirror: Mirrored = "",
    max_calls: MaxCalls = 0,
    max_waiting: MaxWaiting = -1,
    max_message_bytes: MaxBytes = -1,
) -> None:
    """Change what is named, leave the rest."""
    at = session(context)
    route, changed = _route(context.params)
    if not changed:
        raise typer.BadParameter("nothing to change: name at least one option")
    request = pb.UpdateRouteRequest(route=route)
    request.update_mask.paths.extend(changed)
    _show(at, [at.penstock.routing.UpdateRoute(request).route])


@app.command("list")
def list_routes(context: typer.Context, watch: Watch = False) -> None:
    """Every route."""
    at = session(context)
    for found in look(
        at, lambda: list(every(at.penstock.routing.ListRoutes, pb.ListRoutesRequest(), "routes")), on=watch
    ):
        _show(at, found)


@app.command()
def delete(context: typer.Context, model: str) -> None:
    """Calls to the model then get NOT_FOUND."""
    at = session(context)
    at.penstock.routing.DeleteRoute(pb.DeleteRouteRequest(model=model))
    at.console.print(f"the route of {model} is gone")


@app.command()
def export(context: typer.Context) -> None:
    """The compiled policy as an Envoy configuration: `penstock route export | envoy --mode validate -c /dev/stdin`."""
    typer.echo(session(context).penstock.routing.ExportPolicy(pb.ExportPolicyRequest()).yaml)


@app.command()
def select(
    context: typer.Context,
    model: str,
    key: Annotated[str, typer.Option("--key", "-k", help="the routing key")] = "",
    version: Annotated[str, typer.Option(help="the version to pin")] = "",
) -> None:
    """The server to call without Envoy: the one that Envoy would take, or the next one that is well."""
    at = session(context)
    asked = pb.SelectEndpointRequest(model=model, unit=key, version=version)
    found = at.penstock.routing.SelectEndpoint(asked).selection
    said = [
        ("call", f"{found.endpoint.server} at {found.endpoint.address}"),
        ("for", f"{found.model} version {found.version}" + (", a fallback" if found.fallback else "")),
        ("found", METHODS[found.method]),
    ]
    if found.experiment:
        said.append(("experiment", f"{found.experiment}, variant {found.variant}"))
    if found.HasField("failover"):
        said.append(("instead of", f"{found.failover.server}: {found.failover.reason}"))
    if found.others:
        said.append(("then", ", ".join(other.server for other in found.others)))
    at.table(("", ""), said, "")


def _route(said: Mapping[str, Any]) -> tuple[Route, list[str]]:
    """The route, and the fields that a command's options name."""
    route = Route(model=said["model"])
    if version := said["version"]:
        route.default_version = version
    route.fallback_versions.extend(said["fallback"])
    if balance := said["balance"]:
        route.load_balancing = _balance(balance)
    if timeout := said["timeout"]:
        route.timeout.CopyFrom(_duration(timeout))
    if per_try := said["per_try_timeout"]:
        route.per_try_timeout.CopyFrom(_duration(per_try))
    if (retries := said["retries"]) >= 0:
        route.max_retries = retries
    if back_off := said["back_off"]:
        route.retry_back_off.CopyFrom(_duration(back_off))
    if (mirror := said["mirror"]) not in ("", NONE):
        route.mirror.CopyFrom(_mirror(mirror))
    _limit(route, said)
    named = [field.name for field, _ in route.ListFields() if field.name != "model"]
    ended = {"mirror": mirror == NONE, "max_message_bytes": said["max_message_bytes"] == 0}
    return route, [*named, *(field for field, ends in ended.items() if ends)]


def _limit(route: Route, said: Mapping[str, Any]) -> None:
    if max_calls := said["max_calls"]:
        route.max_calls = max_calls
    if (max_waiting := said["max_waiting"]) >= 0:
        route.max_waiting = max_waiting
    if (max_bytes := said["max_message_bytes"]) > 0:
        route.max_message_bytes = max_bytes


def _mirror(said: str) -> Mirror:
    version, _, share = said.partition(":")
    try:
        hundredths = Decimal(share.removesuffix("%")) * 100
        whole = int(hundredths)
    except (ArithmeticError, ValueError):
        raise typer.BadParameter(f"no mirror {said!r}: a version and a share of the calls, as in 2:5%") from None
    if hundredths != whole or not 0 < whole <= WHOLE:
        raise typer.BadParameter(f"{share} is no share of the calls: 0.01% to 100%, in steps of 0.01%")
    return Mirror(version=version, basis_points=whole)


def _balance(name: str) -> LoadBalancing:
    try:
        return LoadBalancing.Value(f"{BALANCE}{name.upper().replace('-', '_')}")
    except ValueError:
        known = (each.removeprefix(BALANCE).lower().replace("_", "-") for each in LoadBalancing.keys()[1:])
        raise typer.BadParameter(f"no load balancing {name!r}, but {', '.join(known)}") from None


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1_000_000))
    return duration


def _show(at: Session, routes: list[Route]) -> None:
    rows = [
        (
            r.model,
            " then ".join([r.default_version, *r.fallback_versions]),
            LoadBalancing.Name(r.load_balancing).removeprefix(BALANCE).lower().replace("_", "-"),
            f"{r.timeout.ToMicroseconds() / 1e6:g} s",
            f"{r.per_try_timeout.ToMicroseconds() / 1e6:g} s",
            r.max_retries,
            f"{r.max_calls}+{r.max_waiting}",
            f"{r.mirror.version}: {r.mirror.basis_points / 100:g} %" if r.HasField("mirror") else "",
        )
        for r in routes
    ]
    columns = ("model", "versions", "balance", "timeout", "per try", "retries", "calls+waiting", "mirror")
    at.table(columns, rows, "No routes yet: `penstock route create MODEL --version V`.")
