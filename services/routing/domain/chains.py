"""What a call tries in order: each attempt is a version on a server set."""

from collections.abc import Sequence

from services.routing.domain.compiled import Absent, Attempt, Chain, Copies
from services.routing.domain.fleet import Fleet, Members, digest
from services.routing.domain.policy import LoadBalancing, ModelVersion


class Chains:
    """Of one route, over one fleet. Remembers the shapes and the server sets that they need."""

    def __init__(self, fleet: Fleet, attempts: int, load_balancing: LoadBalancing) -> None:
        self._fleet = fleet
        self._attempts = attempts
        self._load_balancing = load_balancing
        self._built: dict[tuple[ModelVersion, ...], Chain] = {}
        self.composites: dict[str, tuple[str, ...]] = {}
        self.sets: dict[str, Members] = {}

    def possible(self, target: ModelVersion) -> bool:
        """Whether some server has the version ready, well or not."""
        return bool(self._fleet.ready.get(target))

    def of(self, targets: tuple[ModelVersion, ...]) -> Chain:
        """The chain of these versions, the first being the one that is asked for.

        No attempt is spent on a version without a healthy server while another one has some; when none has, health is
        overruled: what is ready is tried.
        """
        chain = self._built.get(targets)
        if chain is None:
            chain = self._built[targets] = self._build(targets)
        return chain

    def copies(self, target: ModelVersion, basis_points: int) -> Copies:
        """To one set of servers, once each. A version that nobody has in health is left alone: nobody waits for it."""
        if not self._fleet.sound(target):
            return Copies(target, basis_points, "", self._fleet.absence(target))
        return Copies(target, basis_points, self._serve(target))

    def _build(self, targets: Sequence[ModelVersion]) -> Chain:
        fleet = self._fleet
        sound = [target for target in targets if fleet.sound(target)]
        served = sound or [target for target in targets if fleet.ready.get(target)]
        tried: tuple[Attempt, ...] = ()
        for target, tries in zip(served, shares(self._attempts, len(served)), strict=False):
            tried += (Attempt(target, self._serve(target)),) * tries
        absent = tuple(Absent(target, fleet.absence(target)) for target in targets if target not in served)
        return Chain(targets[0], self._composite(tried), tried, absent)

    def _serve(self, target: ModelVersion) -> str:
        members = self._load_balancing, self._fleet.members(target)
        name = self._fleet.name(members)
        self.sets[name] = members
        return name

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
