"""The compiler: inputs to policy, a pure function. Equal inputs, in whatever order, give equal policies."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from services.routing.domain.compiled import Fault, Policy
from services.routing.domain.fleet import Fleet, Members
from services.routing.domain.latest import Latest
from services.routing.domain.placements import Placements
from services.routing.domain.policy import Allocation, Exhausted, Inputs
from services.routing.domain.tables import Table, table_of

Allocated = Mapping[str, tuple[Allocation, ...]]


@dataclass(frozen=True, slots=True)
class _Shapes:
    """What all tables name, by name."""

    composites: Mapping[str, tuple[str, ...]]
    sets: Mapping[str, Members]


@dataclass(frozen=True, slots=True)
class _Generation:
    """What was compiled last, and over which fleet."""

    fleet: Fleet
    tables: Mapping[str, Table]
    shapes: _Shapes


class Compiler:
    """Remembers what it compiled last, and compiles again only the models for which something is different.

    What it returns depends on the inputs alone: a fresh one returns the same. One thread at a time.
    """

    def __init__(self) -> None:
        self._placements = Latest(Placements)
        self._fleet = Latest(Fleet)
        self._allocated = Latest(_by_model)
        self._last: _Generation | None = None

    def compile(self, inputs: Inputs) -> Policy:
        """Never raises for what the inputs say: what cannot be honoured is left out and told in `faults`."""
        fleet = self._fleet(self._placements(inputs.servers, inputs.deployments), inputs.unhealthy, inputs.weights)
        allocated = self._allocated(inputs.allocations)
        last = self._last or _Generation(fleet, {}, _Shapes({}, {}))
        moved = fleet.moved(last.fleet)
        tables: dict[str, Table] = {}
        anew: list[Table] = []
        for route in sorted(inputs.routes, key=lambda r: r.model):
            model = route.model
            tenants = _tenants(model, inputs.exhausted) if inputs.exhausted else ()
            given = route, allocated.get(model, ()), tenants
            table = last.tables.get(model)
            if table is None or table.given != given or not moved.isdisjoint(table.models):
                table = table_of(given, fleet)
                anew.append(table)
            tables[model] = table
        as_before = tables.keys() == last.tables.keys() and all(_alike(table, last.tables) for table in anew)
        shapes = last.shapes if as_before else _shapes(tables.values())
        self._last = _Generation(fleet, tables, shapes)
        faults = (*(fault for table in tables.values() for fault in table.faults), *_left_out(allocated, tables.keys()))
        return Policy(
            {model: table.policy for model, table in tables.items()},
            {name: fleet.set_of(name, members) for name, members in shapes.sets.items()},
            shapes.composites,
            fleet.servers,
            fleet.ready,
            fleet.unhealthy,
            faults,
        )


def compile_policy(inputs: Inputs) -> Policy:
    """From nothing but the inputs."""
    return Compiler().compile(inputs)


def _alike(table: Table, others: Mapping[str, Table]) -> bool:
    """Whether it names what the model's other table names: of equal names all else is equal too."""
    other = others[table.policy.model]
    return table.composites.keys() == other.composites.keys() and table.sets.keys() == other.sets.keys()


def _shapes(tables: Iterable[Table]) -> _Shapes:
    composites: dict[str, tuple[str, ...]] = {}
    sets: dict[str, Members] = {}
    for table in tables:
        composites.update(table.composites)
        sets.update(table.sets)
    return _Shapes(dict(sorted(composites.items())), dict(sorted(sets.items())))


def _by_model(allocations: Iterable[Allocation]) -> Allocated:
    found: defaultdict[str, list[Allocation]] = defaultdict(list)
    for allocation in sorted(allocations, key=lambda a: a.experiment):
        found[allocation.model].append(allocation)
    return {model: tuple(of_model) for model, of_model in found.items()}


def _tenants(model: str, exhausted: Iterable[Exhausted]) -> tuple[str, ...]:
    return tuple(sorted({e.tenant for e in exhausted if e.model in ("", model)}))


def _left_out(allocated: Allocated, routed: AbstractSet[str]) -> Iterator[Fault]:
    for model in sorted(allocated.keys() - routed):
        for allocation in allocated[model]:
            yield Fault(model, f"experiment {allocation.experiment} is left out: the model has no route")
