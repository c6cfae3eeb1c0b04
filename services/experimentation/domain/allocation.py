"""Buckets of a model's layer: who owns which, and that running experiments do not overlap."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from libs.assignment import Range, bucket, owner, ranges
from libs.errors import Precondition, collecting
from services.experimentation.domain.experiment import Experiment, State
from services.experimentation.domain.text import LONGEST_UNIT, is_unit

MOST_UNITS = 10_000


@dataclass(frozen=True)
class Assignment:
    """Of one unit; `variant` and `version` are empty where the experiment assigns it nothing."""

    unit: str
    bucket: int
    variant: str = ""
    version: str = ""


def allocated(experiment: Experiment) -> tuple[Range, ...]:
    """The bucket ranges that an experiment has while it runs."""
    draft = experiment.draft
    weights = [(variant.name, variant.version, variant.weight) for variant in draft.variants]
    return ranges(weights, first=draft.first_bucket, coverage=draft.coverage)


def require_room(starting: Experiment, running: Iterable[Experiment]) -> None:
    """Raise ALLOCATION_OVERLAP unless the slices of the layer are disjoint.

    A slice is what an experiment owns at full coverage: else raising the coverage of one could take another's buckets.
    """
    start, end = _slice(starting)
    for other in running:
        other_start, other_end = _slice(other)
        if start < other_end and other_start < end:
            message = (
                f"buckets [{start}, {end}) of {starting.name!r} overlap [{other_start}, {other_end})"
                f" of {other.name!r}, which runs on {other.model!r}; choose another first_bucket or smaller weights"
            )
            raise Precondition("ALLOCATION_OVERLAP", message, experiment=starting.name, other=other.name)


def _slice(experiment: Experiment) -> tuple[int, int]:
    draft = experiment.draft
    return draft.first_bucket, draft.first_bucket + sum(variant.weight for variant in draft.variants)


def assign(experiment: Experiment, units: Iterable[str]) -> list[Assignment]:
    """What Envoy does with each unit."""
    owned = allocated(experiment) if experiment.state is State.RUNNING else ()
    found: list[Assignment] = []
    for unit in units:
        number = bucket(unit, experiment.salt)
        mine = owner(owned, number)
        found.append(Assignment(unit, number, mine.variant, mine.version) if mine else Assignment(unit, number))
    return found


def check_units(units: Sequence[str]) -> None:
    """Raise Invalid unless there are at most 10,000 units of 1 to 1024 bytes without control characters."""
    with collecting() as faults:
        faults.require(len(units) <= MOST_UNITS, "units", f"at most {MOST_UNITS}, there are {len(units)}")
        for index, unit in enumerate(units[:MOST_UNITS]):
            rule = f"must be 1 to {LONGEST_UNIT} bytes without control characters"
            faults.require(is_unit(unit), f"units[{index}]", rule)
