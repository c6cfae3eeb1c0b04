"""limit: how often callers may call."""

from __future__ import annotations

from typing import Annotated

import typer

from clients.cli.pages import every
from clients.cli.session import Session, session
from clients.cli.watching import Watch, look
from penstock.routing.v1 import access_service_pb2 as pb
from penstock.routing.v1.rate_limit_pb2 import RateLimit, RateLimitScope

app = typer.Typer(help="How often callers may call; counted by each Envoy for itself.", no_args_is_help=True)

Burst = Annotated[int, typer.Option(help="calls that may come at once; what one second brings if it is not given")]
Shadow = Annotated[bool | None, typer.Option("--shadow/--enforce", help="only count what is above the limit")]


@app.command()
def create(
    context: typer.Context,
    name: str,
    rate: Annotated[float, typer.Option(help="calls a second")],
    tenant: Annotated[str, typer.Option(help="only this tenant; else every tenant, each for itself")] = "",
    scope: Annotated[str, typer.Option(help="what is counted: a whole tenant, or each unit (routing key)")] = "tenant",
    burst: Burst = 0,
    shadow: Shadow = None,
) -> None:
    """Limit how often a tenant, or each of its units, may call."""
    at = session(context)
    wanted = RateLimit(
        name=name,
        tenant=tenant,
        scope=_scope(scope),
        requests_per_second=rate,
        burst=_burst(burst),
        shadow=bool(shadow),
    )
    _show(at, [at.penstock.access.CreateRateLimit(pb.CreateRateLimitRequest(rate_limit=wanted)).rate_limit])


@app.command("list")
def list_limits(
    context: typer.Context,
    tenant: Annotated[str, typer.Option(help="only those that name this tenant")] = "",
    watch: Watch = False,
) -> None:
    """Every limit."""
    at = session(context)

    def ask() -> list[RateLimit]:
        return list(every(at.penstock.access.ListRateLimits, pb.ListRateLimitsRequest(tenant=tenant), "rate_limits"))

    for found in look(at, ask, on=watch):
        _show(at, found)


@app.command()
def update(
    context: typer.Context,
    name: str,
    rate: Annotated[float | None, typer.Option(help="calls a second")] = None,
    burst: Annotated[int | None, typer.Option(help="calls that may come at once; 0: what one second brings")] = None,
    shadow: Shadow = None,
) -> None:
    """Change what is named, leave the rest."""
    at = session(context)
    named = {"requests_per_second": rate, "burst": burst, "shadow": shadow}
    changed = [field for field, value in named.items() if value is not None]
    if not changed:
        raise typer.BadParameter("nothing to change: name at least one option")
    limit = RateLimit(name=name, requests_per_second=rate or 0, burst=_burst(burst or 0), shadow=bool(shadow))
    request = pb.UpdateRateLimitRequest(rate_limit=limit)
    request.update_mask.paths.extend(changed)
    _show(at, [at.penstock.access.UpdateRateLimit(request).rate_limit])


@app.command()
def delete(context: typer.Context, name: str) -> None:
    """Calls are then counted by the other limits only."""
    at = session(context)
    at.penstock.access.DeleteRateLimit(pb.DeleteRateLimitRequest(name=name))
    at.console.print(f"limit {name} is gone")


def _burst(calls: int) -> int:
    if not 0 <= calls < 1 << 32:
        raise typer.BadParameter(f"a burst of {calls} is none: 1 to 1000000")
    return calls


def _scope(name: str) -> RateLimitScope:
    try:
        return RateLimitScope.Value(f"RATE_LIMIT_SCOPE_{name.upper()}")
    except ValueError:
        raise typer.BadParameter(f"no scope {name!r}: tenant or unit") from None


def _show(at: Session, limits: list[RateLimit]) -> None:
    rows = [
        (
            limit.name,
            limit.tenant or "every",
            RateLimitScope.Name(limit.scope).removeprefix("RATE_LIMIT_SCOPE_").lower(),
            f"{limit.requests_per_second:g}/s",
            limit.burst,
            "counts only" if limit.shadow else "refuses",
        )
        for limit in limits
    ]
    columns = ("name", "tenant", "counts each", "rate", "burst", "above it")
    at.table(columns, rows, "No limits: `penstock limit create NAME --rate CALLS`.")
