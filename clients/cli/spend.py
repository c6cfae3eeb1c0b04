"""spend: what was used, what it cost, and at what prices."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from clients.cli.pages import every
from clients.cli.session import session
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as pb
from penstock.cost_tracking.v1.price_pb2 import Meter, Price
from penstock.cost_tracking.v1.spend_pb2 import Dimension, Reconciliation

app = typer.Typer(help="Spend, prices, and whether the ledger agrees with everybody else.")
NANO = 1_000_000_000


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    by: Annotated[list[str], typer.Option(help="tenant, model, version, variant or day; several times")] = ["model"],
    tenant: Annotated[str, typer.Option()] = "",
    model: Annotated[str, typer.Option()] = "",
) -> None:
    """Spend by model, or by what --by says."""
    if context.invoked_subcommand:
        return
    at = session(context)
    request = pb.GetSpendRequest(group_by=[_dimension(name) for name in by], tenant=tenant, model=model)
    answer = at.penstock.costs.GetSpend(request)
    rows = [
        (*r.group, r.requests, f"{r.compute_us / 1e6:.3f}", f"{r.nanodollars / NANO:.9f}", r.unpriced_requests or "")
        for r in answer.rows
    ]
    at.table((*by, "requests", "compute s", "dollars", "unpriced"), rows, "Nothing was charged yet.")
    if len(rows) > 1:
        at.console.print(f"total: {answer.total_nanodollars / NANO:.9f} dollars")
    if any(r.unpriced_requests for r in answer.rows):
        at.console.print("Unpriced: no price was in force, so 0 was charged. `penstock spend set-price` sets one.")


@app.command()
def prices(context: typer.Context) -> None:
    """Every price."""
    at = session(context)
    found = every(at.penstock.costs.ListPrices, pb.ListPricesRequest(), "prices")
    rows = [
        (
            p.id,
            Meter.Name(p.meter).removeprefix("METER_").lower().replace("_", "-"),
            "/".join(part for part in (p.model, p.version) if part) or "all",
            p.nanodollars_per_unit,
            _moment(p.effective_from),
            _moment(p.effective_to) if p.HasField("effective_to") else "",
        )
        for p in found
    ]
    columns = ("id", "meter", "for", "nano-$", "from", "to")
    at.table(columns, rows, "No prices yet: usage is recorded and charged 0. `penstock spend set-price`.")


@app.command("set-price")
def set_price(
    context: typer.Context,
    meter: Annotated[str, typer.Argument(help="request or compute-second")],
    nanodollars: Annotated[str, typer.Argument(help="nano-dollars a unit, a decimal number")],
    model: Annotated[str, typer.Option(help="only for this model")] = "",
    version: Annotated[str, typer.Option(help="only for this version")] = "",
    start: Annotated[str, typer.Option("--from", help="a time with a zone; default now")] = "",
) -> None:
    """A price from a time on."""
    at = session(context)
    made = Price(
        meter=_meter(meter), model=model, version=version, nanodollars_per_unit=nanodollars, effective_from=_time(start)
    )
    stored = at.penstock.costs.CreatePrice(pb.CreatePriceRequest(price=made)).price
    at.console.print(f"price {stored.id}: {nanodollars} nano-dollars a {meter} from {_moment(stored.effective_from)}")


@app.command("end-price")
def end_price(
    context: typer.Context, price_id: str, at_time: Annotated[str, typer.Option("--at", help="default now")] = ""
) -> None:
    """End an open price."""
    at = session(context)
    ended = at.penstock.costs.EndPrice(pb.EndPriceRequest(id=price_id, effective_to=_time(at_time))).price
    at.console.print(f"price {ended.id} ends at {_moment(ended.effective_to)}")


@app.command()
def reconcile(context: typer.Context) -> None:
    """The ledger beside Envoy's and the servers' own counters."""
    at = session(context)
    found = at.penstock.costs.Reconcile(pb.ReconcileRequest()).reconciliation
    rows: list[tuple[object, ...]] = [
        ("ledger", found.ledger_requests, "charged"),
        ("records", found.failed_requests, "failed, not charged"),
        ("records", found.passed_requests, "handed on: nobody's charge"),
        ("records", found.records, "taken: the three above"),
    ]
    rows += [
        (r.source, r.value if r.HasField("value") else "", r.error or "its own count, since it started")
        for r in (*found.envoy, *found.servers)
    ]
    at.table(("by", "inferences", ""), rows, "")
    at.console.print(
        "The servers count retries and probes too; neither they nor Envoy remember what was before a restart."
    )
    at.console.print(_verdict(found))


def _verdict(found: Reconciliation) -> str:
    """What Envoy's count says of the ledger; it has no calls that failed before a server was chosen."""
    silent = [r.source for r in found.envoy if not r.HasField("value")]
    if silent or not found.envoy:
        return f"Verdict: none, for {' and '.join(silent) or 'Envoy'} did not say its count."
    finished = sum(r.value for r in found.envoy)
    if finished < found.ledger_requests:
        return f"Verdict: none, for Envoy counts from a later start: {finished} of {found.ledger_requests} charged."
    missing = finished - found.ledger_requests - found.failed_requests
    if missing > 0:
        return f"Verdict: {missing} that Envoy finished are not in the books; they may be on their way: ask again."
    return f"Verdict: the ledger agrees with Envoy: all {finished} that it finished are charged or recorded as failed."


def _moment(stamp: Timestamp) -> str:
    return stamp.ToDatetime(tzinfo=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _dimension(name: str) -> Dimension:
    try:
        return Dimension.Value(f"DIMENSION_{name.upper()}")
    except ValueError:
        raise typer.BadParameter(f"no dimension {name!r}: tenant, model, version, variant or day") from None


def _meter(name: str) -> Meter:
    try:
        return Meter.Value(f"METER_{name.upper().replace('-', '_')}")
    except ValueError:
        raise typer.BadParameter(f"no meter {name!r}: request or compute-second") from None


def _time(text: str) -> Timestamp:
    try:
        moment = datetime.fromisoformat(text) if text else datetime.now(UTC)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901  has no zone, hence refused below
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} is not a time with a zone, like 2026-01-01T00:00:00Z")
    stamp = Timestamp()
    stamp.FromDatetime(moment.astimezone(UTC))
    return stamp
