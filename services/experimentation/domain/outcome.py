"""What happened to a unit after it was served, as somebody reports it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from libs.errors import Faults, Violation
from services.experimentation.domain.text import LONGEST_ID, LONGEST_UNIT, is_text, is_unit

MOST_OUTCOMES = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to a unit. `request_id` names the exposure; empty: the unit's first."""

    experiment: str
    outcome_id: str
    unit: str
    positive: bool
    event_time: datetime
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    accepted: int
    repeated: int
    waiting: int
    """Of the accepted ones."""


def check_outcomes(faults: Faults, outcomes: Sequence[Outcome]) -> None:
    """Add every fault of every outcome, by its path in a ReportOutcomesRequest."""
    count = len(outcomes)
    faults.require(count <= MOST_OUTCOMES, "outcomes", f"at most {MOST_OUTCOMES}, there are {count}")
    for index, outcome in enumerate(outcomes[:MOST_OUTCOMES]):
        for violation in _violations(outcome):
            faults.add(f"outcomes[{index}].{violation.field}", violation.description)


def _violations(outcome: Outcome) -> Iterable[Violation]:
    if not outcome.experiment:
        yield Violation("experiment", "is required")
    if not is_text(outcome.outcome_id, LONGEST_ID):
        yield Violation("outcome_id", f"must be 1 to {LONGEST_ID} bytes without NUL")
    if not outcome.unit and not outcome.request_id:
        yield Violation("unit", "is required where exposure_request_id is empty")
    if outcome.unit and not is_unit(outcome.unit):
        yield Violation("unit", f"must be at most {LONGEST_UNIT} bytes without control characters")
    if outcome.request_id and not is_text(outcome.request_id, LONGEST_ID):
        yield Violation("exposure_request_id", f"must be at most {LONGEST_ID} bytes without NUL")
