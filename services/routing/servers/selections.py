"""SelectEndpoint: answers for callers that go to a server without Envoy, and how often one was not their first."""

from collections.abc import Callable

from prometheus_client import Counter

from libs.errors import Unavailable
from libs.identity import caller
from penstock.routing.v1 import selection_pb2
from penstock.routing.v1.routing_service_pb2 import SelectEndpointRequest
from services.routing.domain.selection import How, Selection, select
from services.routing.domain.snapshot import Snapshot
from services.routing.servers.messages import REASONS, encode_endpoint, version_of

SELECTIONS = Counter(
    "penstock_endpoint_selections",
    "Answers of SelectEndpoint: the unit's first server, a failover to the next one because the first is not well, a"
    " fallback to another version, or none.",
    ["outcome"],
)
FIRST, FAILOVER, FALLBACK, NONE = OUTCOMES = ("first", "failover", "fallback", "none")
HOW = {
    How.RING: selection_pb2.METHOD_RING,
    How.CONSISTENT_HASH: selection_pb2.METHOD_CONSISTENT_HASH,
    How.DRAWN: selection_pb2.METHOD_DRAWN,
}


class Selector:
    """`draw` gives 64 random bits, for callers without a unit."""

    def __init__(self, draw: Callable[[], int]) -> None:
        self._draw = draw
        for outcome in OUTCOMES:  # a failover that never happened is 0, not absent
            SELECTIONS.labels(outcome)

    def select(self, request: SelectEndpointRequest, snapshot: Snapshot) -> selection_pb2.Selection:
        asked = request.model, request.unit, request.version, caller().tenant
        try:
            chosen = select(snapshot.policy, *asked, draw=self._draw)
        except Unavailable:
            SELECTIONS.labels(NONE).inc()
            raise
        SELECTIONS.labels(_outcome(chosen)).inc()
        return _encode(chosen, snapshot.revision)


def _outcome(chosen: Selection) -> str:
    if chosen.degraded:
        return FALLBACK
    return FAILOVER if chosen.instead_of else FIRST


def _encode(chosen: Selection, revision: str) -> selection_pb2.Selection:
    told, missed = chosen.told, chosen.instead_of
    return selection_pb2.Selection(
        policy_revision=revision,
        model=chosen.target.model,
        version=chosen.target.version,
        endpoint=encode_endpoint(chosen.endpoint),
        others=[encode_endpoint(endpoint) for endpoint in chosen.others],
        method=HOW[chosen.how],
        reason=REASONS[told.why],
        bucket=told.bucket,
        salt=told.salt,
        experiment=chosen.experiment,
        variant=chosen.variant,
        chain=[version_of(attempt.target, told.model) for attempt in chosen.chain.attempts],
        fallback=chosen.degraded,
        failover=selection_pb2.Failover(server=missed.server, reason=missed.reason) if missed else None,
    )
