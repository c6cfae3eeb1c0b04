"""What a call tries in order: each attempt is a version on a server set."""

from collections.abc import Sequence

from services.routing.domain.compiled import Absent, Attempt, Chain
from services.routing.domain.fleet import Fleet, digest
from services.routing.domain.policy import LoadBalancing, ModelVersion


class Chains:
    """Builds chains over one fleet and remembers the shapes that they need."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.composites: dict[str, tuple[str, ...]] = {}

    def possible(self, target: ModelVersion) -> bool:
        """Whether some server has the version ready, well or not."""
        return bool(self._fleet.ready.get(target))

    def of(self, targets: Sequence[ModelVersion], attempts: int, load_balancing: LoadBalancing) -> Chain:
        """The chain of these versions, the first being the one that is asked for.

        No attempt is spent on a version without a healthy server while another one has some; when none has, health is
        overruled: what is ready is tried.
        """
        fleet = self._fleet
        sound = [target for target in targets if fleet.sound(target)]
        served = sound or [target for target in targets if fleet.ready.get(target)]
        tried = [
            Attempt(target, fleet.serve(target, load_balancing))
            for target, tries in zip(served, shares(attempts, len(served)), strict=False)
            for _ in range(tries)
        ]
        absent = tuple(Absent(target, fleet.absence(target)) for target in targets if target not in served)
        return Chain(targets[0], self._composite(tried), tuple(tried), absent)

    def _composite(self, tried: Sequence[Attempt]) -> str:
        if not tried:
            return ""
        shape = tuple(attempt.servers for attempt in tried)
        name = "chain-" + digest(*shape)
        self.composites[name] = shape
        return name


def shares(attempts: int, versions: int) -> list[int]:
    """Attempts for each version, earlier ones never less than later ones; versions beyond the attempts get none."""
    if not versions:
        return []
    each, left = divmod(attempts, versions)
    return [each + (n < left) for n in range(versions)][:attempts]
