"""A model's layer: the ranges of all experiments on it, put in order and made to cover every bucket."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from libs.assignment import BUCKETS
from services.routing.domain.compiled import Fault
from services.routing.domain.policy import Allocation, Range


@dataclass(frozen=True, slots=True)
class Layer:
    """One salt and the ranges that may stand under it, by start."""

    salt: str
    owned: tuple[tuple[str, Range], ...]
    faults: tuple[Fault, ...]

    def cover(self) -> Iterator[tuple[int, int, str, Range | None]]:
        """(start, end, experiment, range) over all buckets, in order; gaps have no range and no experiment."""
        at = 0
        for experiment, owned in self.owned:
            if owned.start > at:
                yield at, owned.start, "", None
            yield owned.start, owned.end, experiment, owned
            at = owned.end
        if at < BUCKETS:
            yield at, BUCKETS, "", None


def layer(model: str, allocations: Sequence[Allocation]) -> Layer:
    """An allocation that cannot stand beside those before it (by experiment name) is left out and told as a fault."""
    salt = ""
    owned: list[tuple[str, Range]] = []
    faults: list[Fault] = []
    for allocation in sorted(allocations, key=lambda a: a.experiment):
        problem = _problem(allocation, salt if owned else allocation.salt, owned)
        if problem:
            message = f"experiment {allocation.experiment} is left out: {problem}"
            faults.append(Fault(model, message))
            continue
        salt = allocation.salt
        owned.extend((allocation.experiment, r) for r in allocation.ranges)
    return Layer(salt, tuple(sorted(owned, key=lambda entry: entry[1].start)), tuple(faults))


def _problem(allocation: Allocation, salt: str, owned: Sequence[tuple[str, Range]]) -> str:
    if allocation.salt != salt:
        return "its salt is not that of the model's layer"
    taken = [(r.start, r.end) for _, r in owned]
    for r in allocation.ranges:
        if not 0 <= r.start < r.end <= BUCKETS:
            return f"buckets [{r.start}, {r.end}) are not within [0, {BUCKETS})"
        if any(r.start < end and start < r.end for start, end in taken):
            return f"buckets [{r.start}, {r.end}) are taken"
        taken.append((r.start, r.end))
    return ""
