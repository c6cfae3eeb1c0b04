"""A rollback: which routes are written again, and whether what they name can still serve."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from libs.errors import Faults, Precondition, Violation, collecting
from services.routing.domain.history import Entry
from services.routing.domain.known import Deployed
from services.routing.domain.policy import ModelVersion, Route
from services.routing.domain.routes import check_model


@dataclass(frozen=True, slots=True)
class Plan:
    """`puts` are routes to write, `deletes` models whose routes go, `kept` those whose routes came since and stay.

    `before` holds the routes of all these models as they are now.
    """

    puts: tuple[Route, ...]
    deletes: tuple[str, ...]
    kept: tuple[str, ...]
    before: Mapping[str, Route]

    def changes(self) -> Mapping[str, tuple[Route | None, Route | None]]:
        """By model, in order: the route before and after."""
        written = {route.model: route for route in self.puts} | dict.fromkeys(self.deletes)
        return {model: (self.before.get(model), written[model]) for model in sorted(written)}


class Restorable(Protocol):
    """A store of routes, all of which can be written in one step."""

    async def all(self) -> Sequence[Route]:
        """Every route, by model."""
        ...

    async def restore(self, now: datetime, plan: Callable[[Sequence[Route]], Plan]) -> Plan:
        """Carry out the plan for the routes that there are, as a whole or not at all; the plan is returned.

        Every route that is written gets another etag. Raises what `plan` raises: then nothing is written.
        """
        ...


def check_models(models: Sequence[str], faults: Faults) -> None:
    for index, model in enumerate(models):
        check_model(model, f"models[{index}]", faults)


def plan(then: Iterable[Route], now: Iterable[Route], models: Iterable[str], *, delete_newer: bool) -> Plan:
    """What makes the routes of now those of then; of these models, or of all where none is named.

    Raises Invalid for models that have a route neither then nor now.
    """
    old, new = ({route.model: route for route in routes} for routes in (then, now))
    wanted = list(dict.fromkeys(models))
    with collecting() as faults:
        for index, model in enumerate(wanted):
            faults.require(
                model in old or model in new, f"models[{index}]", f"{model!r} had no route then and has none"
            )
    asked = set(wanted) or {*old, *new}
    newer = tuple(sorted(asked & (new.keys() - old.keys())))
    return Plan(
        puts=tuple(old[model] for model in sorted(asked & old.keys()) if old[model] != new.get(model)),
        deletes=newer if delete_newer else (),
        kept=() if delete_newer else newer,
        before={model: route for model, route in new.items() if model in asked},
    )


def require_ready(planned: Plan, entry: Entry, deployed: Deployed | None) -> None:
    """Every version that a restored route names must be ready somewhere: what it once named may be gone since.

    Raises Precondition VERSION_NOT_READY with a violation for each.
    """
    ready = {ModelVersion(d.model, d.version) for d in (deployed or Deployed()).deployments if d.servers}
    violations = [
        Violation(f"routes[{route.model}].{field}", f"version {target.version} is ready on no server now")
        for route in planned.puts
        for field, target in _named(route)
        if target not in ready
    ]
    if violations:
        message = f"snapshot {entry.number} cannot be restored: {violations[0].field}: {violations[0].description}"
        rest = f", and {len(violations) - 1} more" if len(violations) > 1 else ""
        raise Precondition("VERSION_NOT_READY", message + rest, violations=violations, snapshot=str(entry.number))


def _named(route: Route) -> Iterable[tuple[str, ModelVersion]]:
    yield "default_version", ModelVersion(route.model, route.default_version)
    for index, target in enumerate(route.fallbacks):
        yield f"fallback_versions[{index}]", target
