"""One route compiled: what its calls are led to, and what that needs. A pure function of its basis."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from services.routing.domain.allocations import Layer, layer
from services.routing.domain.chains import Chains
from services.routing.domain.compiled import Chain, Fault, ModelPolicy, Slice
from services.routing.domain.fleet import Fleet, Members
from services.routing.domain.policy import Allocation, ModelVersion, Range, Route

Given = tuple[Route, tuple[Allocation, ...], tuple[str, ...]]
"""A route, the allocations on its model and the tenants whose budget for it is spent."""


@dataclass(frozen=True, slots=True)
class Table:
    """A model's policy, with the chains' shapes and the server sets that it names.

    It depends on what was given and on what the fleet says of `models`, those that its calls may be led to.
    """

    given: Given
    models: tuple[str, ...]
    policy: ModelPolicy
    faults: tuple[Fault, ...]
    composites: Mapping[str, tuple[str, ...]]
    sets: Mapping[str, Members]


def table_of(given: Given, fleet: Fleet) -> Table:
    route, allocations, exhausted = given
    chains = Chains(fleet, route.retries.attempts + 1, route.load_balancing)
    split = layer(route.model, allocations)

    def chain_of(version: str) -> Chain:
        wanted = ModelVersion(route.model, version)
        return chains.of((wanted, *(target for target in route.fallbacks if target != wanted)))

    def slice_of(start: int, end: int, experiment: str, owned: Range | None) -> Slice:
        version = owned.version if owned else route.default_version
        lent = owned is not None and not chains.possible(ModelVersion(route.model, version))
        chain = chain_of(route.default_version if lent else version)
        return Slice(start, end, experiment, owned.variant if owned else "", chain, lent)

    slices = tuple(slice_of(*part) for part in split.cover())
    pinned = tuple(chains.of((target,)) for target in fleet.deployed(route.model))
    limits = route.retries, route.timeout, route.limits
    mirror = route.mirror
    copies = chains.copies(ModelVersion(route.model, mirror.version), mirror.basis_points) if mirror else None
    policy = ModelPolicy(route.model, split.salt, slices, pinned, *limits, exhausted, route.load_balancing, copies)
    faults = (*split.faults, *_undeployed(route, split, chains), *_uncopied(policy))
    models = tuple({route.model, *(target.model for target in route.fallbacks)})
    return Table(given, models, policy, faults, chains.composites, chains.sets)


def _undeployed(route: Route, split: Layer, chains: Chains) -> Iterator[Fault]:
    """What the route and its experiments name and no server has ready."""
    model = route.model
    if not chains.possible(ModelVersion(model, route.default_version)):
        others = any(chains.possible(target) for target in route.fallbacks)
        instead = "its fallbacks answer" if others else "its calls are refused as UNAVAILABLE"
        yield Fault(model, f"default version {route.default_version} is ready on no server: {instead}")
    named = {(experiment, owned.variant, owned.version) for experiment, owned in split.owned}
    for experiment, variant, version in sorted(named):
        if not chains.possible(ModelVersion(model, version)):
            problem = f"variant {variant} of experiment {experiment}: version {version} is ready on no server"
            instead = f"its buckets get the default version {route.default_version} and count for no variant"
            yield Fault(model, f"{problem}: {instead}")


def _uncopied(policy: ModelPolicy) -> Iterator[Fault]:
    copies = policy.copies
    if copies is not None and not copies.servers:
        yield Fault(policy.model, f"mirror {copies.target.version} gets no copies: {copies.absence}")
