"""The compiler: inputs to policy, a pure function. Equal inputs, in whatever order, give equal policies."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet

from services.routing.domain.compiled import Fault, Policy
from services.routing.domain.fleet import Fleet, Members
from services.routing.domain.latest import Latest
from services.routing.domain.placements import Placements
from services.routing.domain.policy import Allocation, Exhausted, Inputs
from services.routing.domain.tables import Table, table_of

Allocated = Mapping[str, tuple[Allocation, ...]]


class Compiler:
    """Remembers what it compiled last, and compiles again only the models for which something is different.

    What it returns depends on the inputs alone: a fresh one returns the same. One thread at a time.
    """

    def __init__(self) -> None:
        self._placements = Latest(Placements)
        self._fleet = Latest(Fleet)
        self._allocated = Latest(_by_model)
        self._last: tuple[Fleet, Mapping[str, Table]] | None = None

    def compile(self, inputs: Inputs) -> Policy:
        """Never raises for what the inputs say: what cannot be honoured is left out and told in `faults`."""
        fleet = self._fleet(self._placements(inputs.servers, inputs.deployments), inputs.unhealthy)
        allocated = self._allocated(inputs.allocations)
        last_fleet, last = self._last or (fleet, {})
        moved = fleet.moved(last_fleet)
        tables: dict[str, Table] = {}
        for route in sorted(inputs.routes, key=lambda r: r.model):
            model = route.model
            given = route, allocated.get(model, ()), _tenants(model, inputs.exhausted)
            table = last.get(model)
            if table is None or table.given != given or not moved.isdisjoint(table.models):
                table = table_of(given, fleet)
            tables[model] = table
        self._last = fleet, tables
        return _policy(fleet, tables, _left_out(allocated, tables.keys()))


def compile_policy(inputs: Inputs) -> Policy:
    """From nothing but the inputs."""
    return Compiler().compile(inputs)


def _policy(fleet: Fleet, tables: Mapping[str, Table], left_out: Iterable[Fault]) -> Policy:
    composites: dict[str, tuple[str, ...]] = {}
    sets: dict[str, Members] = {}
    faults: list[Fault] = []
    for table in tables.values():
        composites.update(table.composites)
        sets.update(table.sets)
        faults.extend(table.faults)
    return Policy(
        {model: table.policy for model, table in tables.items()},
        {name: fleet.set_of(name, members) for name, members in sorted(sets.items())},
        dict(sorted(composites.items())),
        fleet.servers,
        fleet.ready,
        fleet.unhealthy,
        (*faults, *left_out),
    )


def _by_model(allocations: Iterable[Allocation]) -> Allocated:
    found: defaultdict[str, list[Allocation]] = defaultdict(list)
    for allocation in sorted(allocations, key=lambda a: a.experiment):
        found[allocation.model].append(allocation)
    return {model: tuple(of_model) for model, of_model in found.items()}


def _tenants(model: str, exhausted: Iterable[Exhausted]) -> tuple[str, ...]:
    return tuple(sorted({e.tenant for e in exhausted if e.model in ("", model)})) if exhausted else ()


def _left_out(allocated: Allocated, routed: AbstractSet[str]) -> Iterator[Fault]:
    for model in sorted(allocated.keys() - routed):
        for allocation in allocated[model]:
            yield Fault(model, f"experiment {allocation.experiment} is left out: the model has no route")
