"""What counts as an exposure among the lines of the record log."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.experimentation.domain.text import LONGEST_ID, LONGEST_UNIT, is_text

LATEST_NS = 1 << 63


class Judgement(StrEnum):
    """Why a record is, or is not, an exposure."""

    EXPOSURE = "exposure"
    REPEATED = "repeated"
    NO_EXPERIMENT = "no_experiment"
    NO_UNIT = "no_unit"
    NOT_SERVED = "not_served"
    FAILED = "failed"
    DEGRADED = "degraded"
    MIRRORED = "mirrored"
    MALFORMED = "malformed"
    UNKNOWN_EXPERIMENT = "unknown_experiment"
    UNKNOWN_VARIANT = "unknown_variant"


@dataclass(frozen=True, slots=True)
class Served:
    """What a line of the record log says that matters here."""

    request_id: str
    hop: str
    start_ns: int
    experiment: str
    variant: str
    unit: str
    grpc_status: int
    degraded: str
    reached_server: bool
    mirrored: bool


@dataclass(frozen=True, slots=True)
class Exposure:
    """A unit was served by a variant. (request_id, hop) is its key."""

    request_id: str
    hop: str
    experiment: str
    unit: str
    variant: str
    time_ns: int


def sift(
    records: Iterable[Served], variants: Mapping[str, frozenset[str]]
) -> tuple[list[Exposure], Counter[Judgement]]:
    """The exposures among the records, and how many records were judged how. `variants` is by experiment's name."""
    exposures: list[Exposure] = []
    judged: Counter[Judgement] = Counter()
    for record in records:
        judgement = _judge(record, variants)
        judged[judgement] += 1
        if judgement is Judgement.EXPOSURE:
            exposures.append(
                Exposure(record.request_id, record.hop, record.experiment, record.unit, record.variant, record.start_ns)
            )
    return exposures, judged


def _judge(record: Served, variants: Mapping[str, frozenset[str]]) -> Judgement:
    if not record.experiment:
        return Judgement.NO_EXPERIMENT
    known = variants.get(record.experiment)
    refusals = (
        (not record.unit, Judgement.NO_UNIT),
        (record.mirrored, Judgement.MIRRORED),
        (not record.reached_server, Judgement.NOT_SERVED),
        (record.grpc_status != 0, Judgement.FAILED),
        (record.degraded != "", Judgement.DEGRADED),
        (_malformed(record), Judgement.MALFORMED),
        (known is None, Judgement.UNKNOWN_EXPERIMENT),
        (record.variant not in (known or ()), Judgement.UNKNOWN_VARIANT),
    )
    return next((judgement for refused, judgement in refusals if refused), Judgement.EXPOSURE)


def _malformed(record: Served) -> bool:
    """Whether it could never be stored: such a record must not stand in the way of all that follow."""
    texts_fit = is_text(record.request_id, LONGEST_ID) and is_text(record.unit, LONGEST_UNIT)
    return not (texts_fit and 0 <= record.start_ns < LATEST_NS)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Consecutive lines of one file of one proxy, and the exposures among them. Offsets in bytes."""

    proxy: str
    file: str
    start: int
    end: int
    exposures: Sequence[Exposure]
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """`committed` is one past the last byte taken of the file; `lines` is whether this delivery's were taken now."""

    committed: int
    lines: bool
    exposures: int = 0
    """How many were new."""
