"""The second store of experiments and of evidence, so that the suites say what is a promise and what is Postgres."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from libs.errors import AlreadyExists
from services.experimentation.domain.evidence import Evidence, Tally
from services.experimentation.domain.experiment import Experiment, State, no_experiment
from services.experimentation.domain.exposure import Delivery, Exposure, Taken
from services.experimentation.domain.outcome import Outcome, Reported

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ExperimentsInMemory:
    """One caller at a time: a held experiment needs no lock."""

    def __init__(self) -> None:
        self._salts: dict[str, str] = {}
        self._experiments: dict[str, Experiment] = {}

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None]:
        before = dict(self._salts), dict(self._experiments)
        try:
            yield
        except BaseException:
            self._salts, self._experiments = before
            raise

    async def create(self, experiment: Experiment) -> Experiment:
        if experiment.name in self._experiments:
            raise AlreadyExists("EXPERIMENT_EXISTS", f"there is an experiment {experiment.name!r} already")
        salt = self._salts.setdefault(experiment.model, experiment.salt)
        self._experiments[experiment.name] = replace(experiment, salt=salt)
        return self._experiments[experiment.name]

    async def get(self, name: str) -> Experiment:
        if name not in self._experiments:
            raise no_experiment([name])
        return self._experiments[name]

    async def hold(self, name: str) -> Experiment:
        return await self.get(name)

    async def save(self, experiment: Experiment) -> Experiment:
        saved = replace(experiment, revision=experiment.revision + 1)
        self._experiments[saved.name] = saved
        return saved

    async def page(self, model: str, after: str, count: int) -> Sequence[Experiment]:
        found = [e for name, e in sorted(self._experiments.items()) if name > after and model in ("", e.model)]
        return found[:count]

    async def running(self, model: str = "") -> Sequence[Experiment]:
        return [e for e in await self.page(model, "", len(self._experiments)) if e.state is State.RUNNING]

    async def variants(self, names: Iterable[str]) -> Mapping[str, frozenset[str]]:
        return {
            name: frozenset(v.name for v in self._experiments[name].draft.variants)
            for name in names
            if name in self._experiments
        }


@dataclass(frozen=True)
class Unit:
    variant: str
    exposures: int
    mixed: bool


class EvidenceInMemory:
    def __init__(self, experiments: ExperimentsInMemory) -> None:
        self._experiments = experiments
        self._committed: dict[tuple[str, str], int] = {}
        self._exposures: dict[tuple[str, str], Exposure] = {}
        self._outcomes: dict[tuple[str, str], Outcome] = {}

    async def take(self, delivery: Delivery) -> Taken:
        committed = self._committed.setdefault((delivery.proxy, delivery.file), 0)
        if delivery.start != committed:
            return Taken(committed, lines=False)
        self._committed[delivery.proxy, delivery.file] = delivery.end
        before = len(self._exposures)
        for exposure in delivery.exposures:
            self._exposures.setdefault((exposure.request_id, exposure.hop), exposure)
        return Taken(delivery.end, lines=True, exposures=len(self._exposures) - before)

    async def report(self, outcomes: Sequence[Outcome]) -> Reported:
        names = {outcome.experiment for outcome in outcomes}
        missing = names - set(await self._experiments.variants(names))
        if missing:
            raise no_experiment(missing)
        fresh: dict[tuple[str, str], Outcome] = {}
        for outcome in outcomes:
            key = outcome.experiment, outcome.outcome_id
            known = self._outcomes.get(key) or fresh.setdefault(key, outcome)
            if known != outcome:
                raise AlreadyExists("REQUEST_ID_REUSED", f"outcome {outcome.outcome_id!r} was reported before")
        self._outcomes |= fresh
        waiting = sum(self._variant(outcome) is None for outcome in fresh.values())
        return Reported(len(fresh), len(outcomes) - len(fresh), waiting)

    async def evidence(self, experiment: str) -> Evidence:
        tallies: dict[str, Tally] = {}
        units = self._units(experiment)
        for unit in units.values():
            seen = tallies.get(unit.variant, Tally())
            tallies[unit.variant] = replace(seen, units=seen.units + 1, exposures=seen.exposures + unit.exposures)
        waiting = 0
        for outcome in self._outcomes.values():
            variant = self._variant(outcome) if outcome.experiment == experiment else None
            if variant is not None:
                seen = tallies[variant]
                tallies[variant] = replace(seen, outcomes=seen.outcomes + 1, positive=seen.positive + outcome.positive)
            elif outcome.experiment == experiment:
                waiting += 1
        return Evidence(tallies, waiting, sum(unit.mixed for unit in units.values()))

    def _units(self, experiment: str) -> dict[str, Unit]:
        units: dict[str, list[Exposure]] = {}
        for exposure in self._exposures.values():
            if exposure.experiment == experiment:
                units.setdefault(exposure.unit, []).append(exposure)
        return {
            unit: Unit(
                min(seen, key=lambda e: (e.time_ns // 1000, e.request_id)).variant,
                len(seen),
                len({e.variant for e in seen}) > 1,
            )
            for unit, seen in units.items()
        }

    def _variant(self, outcome: Outcome) -> str | None:
        unit = outcome.unit
        if outcome.request_id:
            named = [
                e.unit
                for e in sorted(self._exposures.values(), key=lambda e: e.hop)
                if (e.request_id, e.experiment) == (outcome.request_id, outcome.experiment)
                and outcome.unit in ("", e.unit)
            ]
            unit = named[0] if named else ""
        found = self._units(outcome.experiment).get(unit)
        return found.variant if found else None


def at(seconds: float) -> datetime:
    return EPOCH + timedelta(seconds=seconds)
