"""The compiler: inputs to policy, a pure function. Equal inputs, in whatever order, give equal policies."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from services.routing.domain.allocations import layer
from services.routing.domain.chains import Chains
from services.routing.domain.compiled import Chain, Fault, ModelPolicy, Policy, Slice
from services.routing.domain.fleet import Fleet
from services.routing.domain.policy import Allocation, Exhausted, Inputs, ModelVersion, Route


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

    slices = tuple(
        Slice(
            start,
            end,
            experiment,
            owned.variant if owned else "",
            chain_of(owned.version if owned else route.default_version, route.fallbacks),
        )
        for start, end, experiment, owned in split.cover()
    )
    pinned = tuple(chain_of(target.version, ()) for target in deployed)
    return ModelPolicy(route.model, split.salt, slices, pinned, route.retries, route.timeout), split.faults


def _without(model: ModelPolicy, exhausted: Iterable[Exhausted]) -> ModelPolicy:
    tenants = tuple(sorted({e.tenant for e in exhausted if e.model in ("", model.model)}))
    return replace(model, exhausted_tenants=tenants)
