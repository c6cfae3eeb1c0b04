"""explain: why did this request go there, and why is this backend out?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Annotated

import typer

from clients.cli.pages import every
from clients.cli.session import session
from penstock.health_monitoring.v1 import health_monitoring_service_pb2 as hm
from penstock.health_monitoring.v1.health_pb2 import HealthState, Transition
from penstock.routing.v1.explanation_pb2 import REASON_BUDGET_SPENT, REASON_RANDOM, Endpoint, Reason
from penstock.routing.v1.routing_service_pb2 import ExplainRouteRequest

app = typer.Typer(help="One answer with its evidence.", no_args_is_help=True)
SHOWN = 20
UNTRIED = {REASON_BUDGET_SPENT: "none: the budget is spent", REASON_RANDOM: "drawn by weight, without a key"}


@app.command()
def route(
    context: typer.Context,
    model: str,
    key: Annotated[str, typer.Option("--key", "-k", help="the caller's routing key")] = "",
    version: Annotated[str, typer.Option(help="the version that the caller pins")] = "",
    tenant: Annotated[str, typer.Option(help="whose call it is; your own tenant's if it is not given")] = "",
) -> None:
    """Where a call goes, by the policy that Envoy acknowledged."""
    at = session(context)
    asked = ExplainRouteRequest(model=model, unit=key, version=version, tenant=tenant)
    found = at.penstock.routing.ExplainRoute(asked).explanation
    said = [
        ("policy", f"{found.policy_revision} at {found.proxy}"),
        ("because", Reason.Name(found.reason).removeprefix("REASON_").lower()),
    ]
    if found.HasField("bucket"):
        said.append(("bucket", f"{found.bucket} of 10000, salt {found.salt!r}"))
    if found.experiment:
        said.append(("experiment", f"{found.experiment}, variant {found.variant}"))
    untried = UNTRIED.get(found.reason, "none: no server has a version for it")
    said.append(("attempts", attempts(found.chain) or untried))
    if found.HasField("mirror"):
        why = found.mirror.exclusion_reason
        share = f"{found.mirror.basis_points / 100:g} % of the calls"
        said.append(("mirror", f"version {found.mirror.version}: " + (f"none, {why}" if why else share)))
    at.table(("", ""), said, "")
    at.console.print()
    rows = [(e.server, e.address, takes_calls(e)) for e in found.endpoints]
    at.table(("server", "address", "takes calls"), rows, f"No server has it: `penstock deploy list {model}`.")
    at.console.print()
    shares = [(f"{s.buckets / 100:g} %", s.version, s.experiment, s.variant) for s in found.shares]
    at.table(("share", "version", "experiment", "variant"), shares, "")


def takes_calls(endpoint: Endpoint) -> str:
    """`in, weight 64: p99 is 2.2 times the mean of the servers`; weights only where servers are weighed."""
    if not endpoint.included:
        return f"out: {endpoint.exclusion_reason}"
    return f"in, weight {endpoint.weight}: {endpoint.weight_reason}" if endpoint.weight_reason else "in"


def attempts(chain: Sequence[str]) -> str:
    """The versions that one call is tried on: `version 2 up to 3 times, then version 1`."""
    runs = [(version, len(list(same))) for version, same in groupby(chain)]
    return ", then ".join(f"version {version}" + (f" up to {n} times" if n > 1 else "") for version, n in runs)


@app.command()
def health(
    context: typer.Context, target: Annotated[str, typer.Argument(help="`server/a`; without it, all targets")] = ""
) -> None:
    """What is believed of a server, a version on a server or a service, and why."""
    at = session(context)
    if not target:
        found = every(at.penstock.health.ListTargets, hm.ListTargetsRequest(), "targets")
        rows = [(t.target, _state(t.state), t.reason) for t in found]
        at.table(("target", "state", "why"), rows, "No targets yet.")
        return
    why = at.penstock.health.ExplainHealth(hm.ExplainHealthRequest(target=target))
    at.console.print(f"{target} is {_state(why.health.state)}: {why.health.reason}")
    if why.HasField("probe"):
        passed = "passed" if why.probe.passed else "failed"
        at.console.print(f"last probe {passed}, {why.probe.consecutive} in a row: {why.probe.message}")
    if why.HasField("calls"):
        c = why.calls
        p50, p99 = c.p50.ToMicroseconds() / 1000, c.p99.ToMicroseconds() / 1000
        at.console.print(
            f"calls in {c.window.seconds} s: {c.calls}, {c.errors} failed; p50 {p50:.1f} ms, p99 {p99:.1f} ms"
        )
    if why.health.weight_reason:
        at.console.print(f"weight {why.health.weight} of 100 on routes that weigh servers: {why.health.weight_reason}")
    rows = [_transition(t) for t in why.transitions[:SHOWN]]
    at.table(("time", "from", "to", "why"), rows, "It has not changed its state.")


def _transition(t: Transition) -> tuple[str, str, str, str]:
    return t.time.ToJsonString(), _state(getattr(t, "from")), _state(t.to), t.reason


def _state(state: HealthState) -> str:
    return HealthState.Name(state).removeprefix("HEALTH_STATE_")
