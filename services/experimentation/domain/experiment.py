"""An experiment and the states that it passes through."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from libs.assignment import BUCKETS
from libs.errors import Faults, NotFound, Precondition, Violation
from services.experimentation.domain.text import is_text

NAME = re.compile(r"[a-z0-9-]{1,63}")
MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")
VERSION = re.compile(r"[1-9][0-9]{0,17}")
FEWEST_VARIANTS = 2
MOST_VARIANTS = 10
LONGEST_DESCRIPTION = 4096
MOST_LIFT = 1000.0


class State(StrEnum):
    DRAFT = "DRAFT"
    RUNNING = "RUNNING"
    STOPPED = "STOPPED"
    GRADUATED = "GRADUATED"


class Direction(StrEnum):
    """Which rate of positive outcomes is good."""

    HIGHER = "HIGHER"
    LOWER = "LOWER"


@dataclass(frozen=True)
class Variant:
    """One arm: `weight` is its buckets at full coverage."""

    name: str
    version: str
    weight: int


@dataclass(frozen=True)
class Draft:
    """What whoever creates an experiment decides. The first variant is the control."""

    name: str
    model: str
    variants: tuple[Variant, ...]
    coverage: int = BUCKETS
    """Share of each variant's buckets that is used, in ten-thousandths."""
    first_bucket: int = 0
    minimum_lift: float = 0.0
    """Smallest relative lift that is worth shipping."""
    direction: Direction = Direction.HIGHER
    description: str = ""

    def check(self, faults: Faults) -> None:
        """Add every fault, by the path of its field in a CreateExperimentRequest."""
        faults.require(NAME.fullmatch(self.name), "experiment.name", "must be 1 to 63 of [a-z0-9-]")
        faults.require(
            MODEL.fullmatch(self.model),
            "experiment.model",
            "must be 1 to 127 of [A-Za-z0-9_.-], starting with a letter or digit",
        )
        faults.require(
            0 <= self.minimum_lift <= MOST_LIFT, "experiment.minimum_lift", f"must be a number from 0 to {MOST_LIFT:g}"
        )
        text_is_sane = not self.description or is_text(self.description, LONGEST_DESCRIPTION)
        faults.require(text_is_sane, "experiment.description", "must be at most 4096 bytes without NUL")
        covered = faults.require(1 <= self.coverage <= BUCKETS, "experiment.coverage", "must be 1 to 10000")
        _check_variants(faults, self.variants, self.coverage if covered else BUCKETS)
        end = self.first_bucket + sum(variant.weight for variant in self.variants)
        faults.require(
            end <= BUCKETS,
            "experiment.variants",
            f"first_bucket and the weights together are {end}, more than {BUCKETS}",
        )


def _check_variants(faults: Faults, variants: Sequence[Variant], coverage: int) -> None:
    count = len(variants)
    faults.require(
        FEWEST_VARIANTS <= count <= MOST_VARIANTS, "experiment.variants", f"must be 2 to 10, there are {count}"
    )
    names = [variant.name for variant in variants]
    for index, variant in enumerate(variants):
        at = f"experiment.variants[{index}]"
        if faults.require(NAME.fullmatch(variant.name), f"{at}.name", "must be 1 to 63 of [a-z0-9-]"):
            faults.require(variant.name not in names[:index], f"{at}.name", "is the name of an earlier variant")
        faults.require(
            VERSION.fullmatch(variant.version), f"{at}.version", "must be a positive integer without leading zeros"
        )
        if faults.require(1 <= variant.weight <= BUCKETS, f"{at}.weight", "must be 1 to 10000"):
            faults.require(
                variant.weight * coverage >= BUCKETS, f"{at}.weight", "leaves no bucket at the experiment's coverage"
            )


@dataclass(frozen=True)
class Experiment:
    """A stored experiment. `salt` is that of its model's layer."""

    draft: Draft
    salt: str
    state: State
    create_time: datetime
    start_time: datetime | None = None
    end_time: datetime | None = None
    winner: str = ""
    revision: int = 1

    @property
    def name(self) -> str:
        return self.draft.name

    @property
    def model(self) -> str:
        return self.draft.model

    @property
    def control(self) -> Variant:
        return self.draft.variants[0]

    def variant(self, name: str) -> Variant | None:
        return next((variant for variant in self.draft.variants if variant.name == name), None)

    def started(self, now: datetime) -> "Experiment":
        """Raises EXPERIMENT_STATE unless it is a DRAFT."""
        self.require(State.DRAFT, "started")
        return replace(self, state=State.RUNNING, start_time=now)

    def stopped(self, now: datetime) -> "Experiment":
        """Raises EXPERIMENT_STATE unless it is RUNNING."""
        self.require(State.RUNNING, "stopped")
        return replace(self, state=State.STOPPED, end_time=now)

    def graduated(self, winner: str, now: datetime) -> "Experiment":
        """Raises EXPERIMENT_STATE unless it is RUNNING."""
        self.require(State.RUNNING, "graduated")
        return replace(self, state=State.GRADUATED, winner=winner, end_time=now)

    def has_graduated(self, variant: str) -> bool:
        """Whether graduating it again for this variant (empty: the winner) has nothing left to do."""
        return self.state is State.GRADUATED and variant in ("", self.winner)

    def require_ready(self, ready: frozenset[str]) -> None:
        """Raise VERSION_NOT_READY, with every variant to blame, unless all versions are among those ready to serve."""
        violations = [
            Violation(f"experiment.variants[{index}].version", f"version {variant.version} is ready on no server")
            for index, variant in enumerate(self.draft.variants)
            if variant.version not in ready
        ]
        if violations:
            unready = ", ".join(sorted({v.version for v in self.draft.variants} - ready, key=int))
            message = f"version {unready} of model {self.model!r} is ready on no server: deploy it first"
            raise Precondition(
                "VERSION_NOT_READY", message, violations=violations, experiment=self.name, model=self.model
            )

    def require(self, state: State, done: str) -> None:
        """Raise EXPERIMENT_STATE unless it is in the state in which it can be `done` something to."""
        if self.state is not state:
            message = f"experiment {self.name!r} is {self.state}; only a {state} one can be {done}"
            raise Precondition("EXPERIMENT_STATE", message, experiment=self.name, state=self.state.value)


def no_experiment(names: Iterable[str]) -> NotFound:
    """The error that names them."""
    listed = sorted(names)
    return NotFound("EXPERIMENT_NOT_FOUND", f"no experiment {', '.join(map(repr, listed))}", experiment=listed[0])


def findable(name: str) -> bool:
    """Whether an experiment could have this name; a store is never asked for another."""
    return NAME.fullmatch(name) is not None
