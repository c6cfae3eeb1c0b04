"""Where a call goes and why, by a compiled policy: what Envoy does with it, told without asking Envoy."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from libs.assignment import bucket as bucket_of
from libs.errors import NotFound
from services.routing.domain.compiled import Chain, Copies, Endpoint, ModelPolicy, Policy, Slice
from services.routing.domain.policy import ModelVersion


class Why(StrEnum):
    """The rule that chose the version."""

    EXPERIMENT = "EXPERIMENT"
    DEFAULT = "DEFAULT"
    PINNED = "PINNED"
    RANDOM = "RANDOM"
    NO_SERVER = "NO_SERVER"
    VARIANT_NOT_DEPLOYED = "VARIANT_NOT_DEPLOYED"
    BUDGET_SPENT = "BUDGET_SPENT"


@dataclass(frozen=True, slots=True)
class Share:
    """What the buckets of one outcome add up to. `experiment` and `variant` are empty for the default version."""

    experiment: str
    variant: str
    version: str
    buckets: int


@dataclass(frozen=True, slots=True)
class Explanation:
    """`salt` is empty and `bucket` None when no hash is taken; `chain` is None when chance decides it, or the tenant's
    budget is spent.

    `endpoints` are the servers that have some version of the model, as seen by the first attempt; where chance decides,
    as seen by whichever outcome would go there. `experiment` and `variant` own the bucket, also where the variant's
    version is deployed nowhere and the default answers.
    """

    model: str
    why: Why
    salt: str
    bucket: int | None
    experiment: str
    variant: str
    chain: Chain | None
    endpoints: tuple[Endpoint, ...]
    shares: tuple[Share, ...]
    copies: Copies | None


def explain(policy: Policy, model: str, unit: str = "", pinned: str = "", tenant: str = "") -> Explanation:
    """Raises NotFound: ROUTE_NOT_FOUND, or MODEL_VERSION_NOT_FOUND for a pinned version that is not deployed."""
    found = policy.models.get(model)
    if found is None:
        raise NotFound("ROUTE_NOT_FOUND", f"model {model!r} has no route", model=model)
    if tenant in found.exhausted_tenants:
        return _explained(policy, found, Why.BUDGET_SPENT, None, None, None)
    if pinned:
        return _explained(policy, found, Why.PINNED, None, None, _pinned(found, pinned))
    if len(found.slices) == 1:  # nothing to choose: Envoy takes no hash
        owner = found.slices[0]
        return _explained(policy, found, _rule(owner), None, owner, owner.chain)
    if not unit:
        return _explained(policy, found, Why.RANDOM, None, None, None)
    bucket = bucket_of(unit, found.salt)
    owner = found.owner(bucket)
    return _explained(policy, found, _rule(owner), bucket, owner, owner.chain)


def _rule(owner: Slice) -> Why:
    if owner.lent:
        return Why.VARIANT_NOT_DEPLOYED
    return Why.EXPERIMENT if owner.experiment else Why.DEFAULT


def _pinned(model: ModelPolicy, version: str) -> Chain:
    for chain in model.pinned:
        if chain.wanted.version == version:
            return chain
    message = f"model {model.model!r} has no version {version!r} deployed"
    raise NotFound("MODEL_VERSION_NOT_FOUND", message, model=model.model, version=version)


def _explained(
    policy: Policy, model: ModelPolicy, why: Why, bucket: int | None, owner: Slice | None, chain: Chain | None
) -> Explanation:
    return Explanation(
        model=model.model,
        why=Why.NO_SERVER if chain is not None and not chain.attempts else why,
        salt="" if bucket is None else model.salt,
        bucket=bucket,
        experiment=owner.experiment if owner else "",
        variant=owner.variant if owner else "",
        chain=chain,
        endpoints=_drawable(policy, model) if chain is None else tuple(endpoints_of(policy, chain)),
        shares=_shares(model),
        copies=None if why is Why.PINNED else model.copies,
    )


def _shares(model: ModelPolicy) -> tuple[Share, ...]:
    totals: dict[tuple[str, str, str], int] = {}
    for s in model.slices:
        totals[s.outcome] = totals.get(s.outcome, 0) + s.end - s.start
    return tuple(Share(*outcome, buckets) for outcome, buckets in totals.items())


def _drawable(policy: Policy, model: ModelPolicy) -> tuple[Endpoint, ...]:
    found: dict[str, Endpoint] = {}
    for chain in dict.fromkeys(s.chain for s in model.slices):
        for endpoint in endpoints_of(policy, chain):
            if endpoint.included or endpoint.server not in found:
                found[endpoint.server] = endpoint
    return tuple(found[server] for server in sorted(found))


def endpoints_of(policy: Policy, chain: Chain) -> Iterator[Endpoint]:
    """Every server that has some version of the model, by name, in or out for the chain's first attempt."""
    asked = chain.attempts[0].target if chain.attempts else chain.wanted
    in_set = {e.server: e for e in policy.server_sets[chain.attempts[0].servers].endpoints} if chain.attempts else {}
    for server in sorted({s for v, ready in policy.ready.items() if v.model == asked.model for s in ready}):
        known = in_set.get(server)
        if known is not None:
            yield known
        else:
            at = policy.servers[server]
            yield Endpoint(
                server, at.address, at.port, at.weight, included=False, reason=_why_out(policy, server, asked)
            )


def _why_out(policy: Policy, server: str, asked: ModelVersion) -> str:
    if server not in policy.ready.get(asked, ()):
        return f"version {asked.version} is not ready there"
    whole = policy.unhealthy.get((server, "", ""))
    return whole or policy.unhealthy.get((server, asked.model, asked.version), "it belongs to another server set")
