"""Which server a caller that goes there itself should call: what Envoy would do with the call, done here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice

from libs.assignment import BUCKETS, hash64
from libs.errors import Exhausted, Unavailable
from services.routing.domain.compiled import Chain, Endpoint, Policy
from services.routing.domain.explain import Explanation, Why, endpoints_of, explain
from services.routing.domain.policy import LoadBalancing, ModelVersion
from services.routing.domain.ring import ring

MOST_OTHERS = 9


class How(StrEnum):
    """By which rule the server was found."""

    RING = "RING"
    """The route balances by ring: Envoy's ring, Envoy's server."""
    CONSISTENT_HASH = "CONSISTENT_HASH"
    """The same ring, where Envoy may take another server of the set: the route balances otherwise, or a server has a
    name for an address and Envoy's ring is of what that resolves to."""
    DRAWN = "DRAWN"
    """A random point on the ring, for want of a unit."""


@dataclass(frozen=True, slots=True)
class Selection:
    """`endpoint` first, then `others` as they come on the ring.

    `instead_of` is the server that it would be were all well; None when it is. `experiment` and `variant` are those
    that the answer counts for.
    """

    told: Explanation
    chain: Chain
    experiment: str
    variant: str
    how: How
    endpoint: Endpoint
    others: tuple[Endpoint, ...]
    instead_of: Endpoint | None

    @property
    def target(self) -> ModelVersion:
        """What to ask of the server."""
        return self.chain.attempts[0].target

    @property
    def degraded(self) -> bool:
        """Whether that is a fallback."""
        return self.target != self.chain.wanted


def select(
    policy: Policy, model: str, unit: str = "", pinned: str = "", tenant: str = "", *, draw: Callable[[], int]
) -> Selection:
    """`draw` gives 64 random bits. Raises as `explain`, Exhausted BUDGET_SPENT, Unavailable NO_HEALTHY_ENDPOINTS."""
    told = explain(policy, model, unit, pinned, tenant)
    if told.why is Why.BUDGET_SPENT:
        message = f"the budget for {model} of tenant {tenant} is spent"
        raise Exhausted("BUDGET_SPENT", message, model=model, tenant=tenant)
    table = policy.models[model]
    point = hash64(f"{unit}:{table.salt}") if unit else draw()
    chain, experiment, variant = told.chain, told.experiment, told.variant
    if chain is None:
        owner = table.owner(point % BUCKETS)
        chain = owner.chain
        experiment, variant, _ = owner.outcome
    elif told.why is Why.VARIANT_NOT_DEPLOYED:
        experiment, variant = "", ""
    sound, first = _candidates(policy, chain, point)
    order = [sound[place] for place in islice(ring(_members(sound)).walk(point), 1 + MOST_OTHERS)]
    named = policy.server_sets[chain.attempts[0].servers].named
    same = table.load_balancing is LoadBalancing.RING_HASH and not named
    return Selection(
        told=told,
        chain=chain,
        experiment=experiment,
        variant=variant,
        how=(How.RING if same else How.CONSISTENT_HASH) if unit else How.DRAWN,
        endpoint=order[0],
        others=tuple(order[1:]),
        instead_of=None if first in sound else first,
    )


def _candidates(policy: Policy, chain: Chain, point: int) -> tuple[Sequence[Endpoint], Endpoint]:
    """The servers that may be called, and the one that the point falls to when all that have the version are well.

    Where none is, Envoy still tries: a call that is refused costs it less than a sure refusal. Who goes there without
    Envoy has no such retries, and is told. Raises Unavailable.
    """
    if not chain.attempts:
        raise _nobody(chain.wanted, [absent.reason for absent in chain.absent])
    attempt = chain.attempts[0]
    ready = policy.ready[attempt.target]
    members = policy.server_sets[attempt.servers].endpoints
    sound = [endpoint for endpoint in members if endpoint.included and not endpoint.reason]
    if not sound:
        raise _nobody(chain.wanted, [f"{endpoint.server}: {endpoint.reason}" for endpoint in members])
    weights = {endpoint.server: endpoint.weight for endpoint in members}
    typical = sum(weights.values()) // len(weights)
    everyone = [
        replace(endpoint, weight=weights.get(endpoint.server, typical))
        for endpoint in endpoints_of(policy, chain)
        if endpoint.server in ready
    ]
    return sound, everyone[next(ring(_members(everyone)).walk(point))]


def _nobody(wanted: ModelVersion, reasons: Sequence[str]) -> Unavailable:
    message = f"no healthy server for version {wanted.version} of {wanted.model}: {'; '.join(reasons)}"
    return Unavailable("NO_HEALTHY_ENDPOINTS", message, model=wanted.model, version=wanted.version)


def _members(endpoints: Sequence[Endpoint]) -> tuple[tuple[str, int], ...]:
    return tuple((endpoint.host, endpoint.weight) for endpoint in endpoints)
