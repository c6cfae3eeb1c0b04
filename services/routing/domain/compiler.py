"""The compiler: inputs to policy, a pure function. Equal inputs, in whatever order, give equal policies."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from services.routing.domain.allocations import Layer, layer
from services.routing.domain.chains import Chains
from services.routing.domain.compiled import Chain, Fault, ModelPolicy, Policy, Slice
from services.routing.domain.fleet import Fleet
from services.routing.domain.policy import Allocation, Exhausted, Inputs, ModelVersion, Range, Route


def compile_policy(inputs: Inputs) -> Policy:
    """Never raises for what its inputs say: what cannot be honoured is left out and told in `faults`."""
    fleet = Fleet(inputs.servers, inputs.deployments, inputs.unhealthy)
    chains = Chains(fleet)
    by_model: defaultdict[str, list[Allocation]] = defaultdict(list)
    for allocation in inputs.allocations:
        by_model[allocation.model].append(allocation)
    versions: defaultdict[str, list[ModelVersion]] = defaultdict(list)
    for target in fleet.ready:
        versions[target.model].append(target)
    faults: list[Fault] = []
    models: dict[str, ModelPolicy] = {}
    for route in sorted(inputs.routes, key=lambda r: r.model):
        compiled, found = _model(route, by_model.pop(route.model, []), versions[route.model], chains)
        models[route.model] = _without(compiled, inputs.exhausted)
        faults.extend(found)
    faults.extend(
        Fault(model, f"experiment {allocation.experiment} is left out: the model has no route")
        for model in sorted(by_model)
        for allocation in sorted(by_model[model], key=lambda a: a.experiment)
    )
    return Policy(
        models,
        dict(sorted(fleet.sets.items())),
        dict(sorted(chains.composites.items())),
        fleet.servers,
        fleet.ready,
        fleet.unhealthy,
        tuple(faults),
    )


def _model(
    route: Route, allocations: Sequence[Allocation], deployed: Iterable[ModelVersion], chains: Chains
) -> tuple[ModelPolicy, tuple[Fault, ...]]:
    attempts = route.retries.attempts + 1
    split = layer(route.model, allocations)

    def chain_of(version: str, fallbacks: Sequence[ModelVersion]) -> Chain:
        wanted = ModelVersion(route.model, version)
        targets = (wanted, *(target for target in fallbacks if target != wanted))
        return chains.of(targets, attempts, route.load_balancing)

    def slice_of(start: int, end: int, experiment: str, owned: Range | None) -> Slice:
        version = owned.version if owned else route.default_version
        lent = owned is not None and not chains.possible(ModelVersion(route.model, version))
        chain = chain_of(route.default_version if lent else version, route.fallbacks)
        return Slice(start, end, experiment, owned.variant if owned else "", chain, lent)

    slices = tuple(slice_of(*part) for part in split.cover())
    pinned = tuple(chain_of(target.version, ()) for target in deployed)
    faults = (*split.faults, *_undeployed(route, split, chains))
    return ModelPolicy(route.model, split.salt, slices, pinned, route.retries, route.timeout), faults


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


def _without(model: ModelPolicy, exhausted: Iterable[Exhausted]) -> ModelPolicy:
    tenants = tuple(sorted({e.tenant for e in exhausted if e.model in ("", model.model)}))
    return replace(model, exhausted_tenants=tenants)
