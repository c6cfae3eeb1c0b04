"""What was seen of an experiment, counted."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of one variant."""

    units: int = 0
    exposures: int = 0
    outcomes: int = 0
    positive: int = 0


@dataclass(frozen=True)
class Evidence:
    """Counts of an experiment. A unit that several variants served counts, with all that happened to it, for the
    first one; `mixed_units` says how many there are."""

    tallies: Mapping[str, Tally]
    """By variant."""
    waiting_outcomes: int = 0
    mixed_units: int = 0
