"""Questions and answers about spend, between the wire and the domain."""

from collections.abc import Iterable, Sequence

from libs.errors import Denied, collecting
from libs.identity import caller
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as pb
from penstock.cost_tracking.v1 import spend_pb2
from services.cost_tracking.domain.reconciliation import Reading, Reconciliation
from services.cost_tracking.domain.spend import Dimension, Question, Spend
from services.cost_tracking.domain.usage import Outcome
from services.cost_tracking.servers import times

DIMENSIONS = {
    spend_pb2.DIMENSION_TENANT: Dimension.TENANT,
    spend_pb2.DIMENSION_MODEL: Dimension.MODEL,
    spend_pb2.DIMENSION_VERSION: Dimension.VERSION,
    spend_pb2.DIMENSION_VARIANT: Dimension.VARIANT,
    spend_pb2.DIMENSION_DAY: Dimension.DAY,
}
SEES_EVERYBODY = frozenset({"billing", "admin"})


def decode(request: pb.GetSpendRequest) -> Question:
    """Raises Invalid with every fault, and Denied."""
    with collecting() as faults:
        for index, wire in enumerate(request.group_by):
            path = f"group_by[{index}]"
            if faults.require(wire in DIMENSIONS, path, "no known dimension"):
                faults.require(wire not in request.group_by[:index], path, "asked for twice")
        since = times.decode(request, "from", faults)
        until = times.decode(request, "to", faults)
        faults.require(since is None or until is None or since < until, "to", "not after from")
        for field in ("tenant", "model"):
            faults.require("\0" not in getattr(request, field), field, "contains a NUL")
    dimensions = tuple(DIMENSIONS[wire] for wire in request.group_by)
    return Question(dimensions, since, until, _payer(request.tenant), request.model)


def _payer(asked: str) -> str:
    """Whose spend is told: everybody's, or one's own."""
    own = caller().tenant
    if not caller().roles.isdisjoint(SEES_EVERYBODY):
        return asked
    if asked not in ("", own):
        message = f"the spend of tenant {asked!r} is for the role billing or admin; yours is {own!r}"
        raise Denied("ROLE_REQUIRED", message, tenant=asked, roles="billing,admin")
    return own


def encode(rows: Sequence[Spend]) -> pb.GetSpendResponse:
    return pb.GetSpendResponse(
        rows=[
            spend_pb2.SpendRow(
                group=row.group,
                requests=row.requests,
                compute_us=row.compute_us,
                nanodollars=row.nanodollars,
                unpriced_requests=row.unpriced,
            )
            for row in rows
        ],
        total_nanodollars=sum(row.nanodollars for row in rows),
    )


def encode_reconciliation(books: Reconciliation) -> spend_pb2.Reconciliation:
    return spend_pb2.Reconciliation(
        ledger_requests=books.of(Outcome.BILLED, Outcome.MIRRORED),
        failed_requests=books.of(Outcome.FAILED),
        passed_requests=books.of(Outcome.PASSED),
        records=books.of(*Outcome),
        envoy=_readings(books.envoy),
        servers=_readings(books.servers),
    )


def _readings(readings: Iterable[Reading]) -> list[spend_pb2.CounterReading]:
    return [spend_pb2.CounterReading(source=r.source, value=r.value, error=r.error) for r in readings]
