"""Which servers can serve a version now, as server sets that many versions share."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from services.routing.domain.compiled import Endpoint, ServerSet, is_ip
from services.routing.domain.placements import Placed, Placements
from services.routing.domain.policy import EVEN, LoadBalancing, ModelVersion, ServerWeight, Unhealthy

NAMED, UNKNOWN = "not weighed: a server of the set has a name for an address", "nothing is known of it yet"
"""Why a server has the mean's weight."""

Members = tuple[LoadBalancing, tuple[str, ...]]
"""Who is in a server set, and how one of them is chosen: what the set is named after."""


@dataclass(frozen=True, slots=True)
class Ailing:
    """What illness does to a version: who is left to serve it, and why nobody is sound if nobody is."""

    target: ModelVersion
    members: tuple[str, ...]
    absence: str


class Fleet:
    """Placements, who of them is unhealthy, and how those that are weighed share calls."""

    def __init__(
        self, placements: Placements, unhealthy: Iterable[Unhealthy], weights: Iterable[ServerWeight] = ()
    ) -> None:
        self._weights = {weight.server: weight for weight in weights}
        self.servers, self.ready = placements.servers, placements.ready
        self.unhealthy: Mapping[tuple[str, str, str], str] = {
            (u.server, u.model, u.version): u.reason
            for u in sorted(unhealthy, key=lambda u: (u.server, u.model, u.version, u.reason))
        }
        self.placements = placements
        self.ailing: Mapping[str, tuple[Ailing, ...]] = self._ailments()
        self._affected = {ailing.target: ailing for found in self.ailing.values() for ailing in found}
        self._names: dict[Members, str] = {}

    def moved(self, before: "Fleet") -> AbstractSet[str]:
        """The models that are not served as they were. A server's illness moves none while another one is sound."""
        if self is before:
            return frozenset()
        models = self.ailing.keys() | before.ailing.keys()
        if self.placements is not before.placements:
            models |= self.placements.models | before.placements.models
        return {model for model in models if self.about(model) != before.about(model)}

    def about(self, model: str) -> tuple[tuple[Placed, ...], tuple[Ailing, ...]]:
        """All that decides how the model is served."""
        return self.placements.of(model), self.ailing.get(model, ())

    def deployed(self, model: str) -> tuple[ModelVersion, ...]:
        return tuple(target for target, _ in self.placements.of(model))

    def sound(self, target: ModelVersion) -> bool:
        """Whether some server has the version ready, and neither is unhealthy."""
        ailing = self._affected.get(target)
        return not ailing.absence if ailing else bool(self.ready.get(target))

    def absence(self, target: ModelVersion) -> str:
        """Why no attempt is spent on a version that is not sound."""
        if target not in self.ready:
            return f"version {target.version} of {target.model} is not deployed"
        if not self.ready[target]:
            return f"version {target.version} of {target.model} is ready on no server"
        return self._affected[target].absence

    def members(self, target: ModelVersion) -> tuple[str, ...]:
        """The servers of the set for a version that is ready somewhere.

        Servers where just this version is unhealthy belong to another set; a server that is unhealthy as a whole
        leaves the set's endpoints only, so that its return changes nothing but them. Where no server is left that is
        sound, all that are ready are members: one that only this version is out on may answer, a dead one will not.
        """
        ailing = self._affected.get(target)
        return ailing.members if ailing else self.ready[target]

    def name(self, members: Members) -> str:
        """Of their set: equal members have one."""
        name = self._names.get(members)
        if name is None:
            load_balancing, servers = members
            name = self._names[members] = "set-" + digest(load_balancing.value, *servers)
        return name

    def set_of(self, name: str, members: Members) -> ServerSet:
        load_balancing, servers = members
        reasons = {server: self._whole(server) for server in servers}
        last_door = None not in reasons.values()
        weigh = self._weigh(load_balancing, servers)
        endpoints = tuple(
            Endpoint(
                server,
                self.servers[server].address,
                self.servers[server].port,
                self.servers[server].weight * weigh(server).weight,
                included=reason is None or last_door,
                reason="" if reason is None else reason,
                weight_reason=weigh(server).reason,
            )
            for server, reason in reasons.items()
        )
        return ServerSet(name, load_balancing, endpoints)

    def _weigh(self, load_balancing: LoadBalancing, servers: tuple[str, ...]) -> Callable[[str], ServerWeight]:
        """Endpoints that are names travel in their cluster: a weight that changed would make it another cluster, with
        other connections, every few seconds.
        """
        if load_balancing is not LoadBalancing.WEIGHTED_RESPONSE_TIME:
            return lambda server: ServerWeight(server, 1)
        if not all(is_ip(self.servers[server].address) for server in servers):
            return lambda server: ServerWeight(server, EVEN, NAMED)
        return lambda server: self._weights.get(server) or ServerWeight(server, EVEN, UNKNOWN)

    def _whole(self, server: str) -> str | None:
        return self.unhealthy.get((server, "", ""))

    def _ailments(self) -> Mapping[str, tuple[Ailing, ...]]:
        found: defaultdict[str, tuple[Ailing, ...]] = defaultdict(tuple)
        suspects = {server for server, _, _ in self.unhealthy}
        if suspects:
            for target, ready in self.ready.items():
                if not suspects.isdisjoint(ready) and (ailing := self._ailment(target, ready)):
                    found[target.model] += (ailing,)
        return dict(found)

    def _ailment(self, target: ModelVersion, ready: tuple[str, ...]) -> Ailing | None:
        whole = {server: self._whole(server) for server in ready}
        own = {server: self.unhealthy.get((server, target.model, target.version)) for server in ready}
        if any(whole[server] is None and own[server] is None for server in ready):
            members = tuple(server for server in ready if own[server] is None)
            return Ailing(target, members, "") if members != ready else None
        faults = {server: own[server] if whole[server] is None else whole[server] for server in ready}
        return Ailing(target, ready, "unhealthy: " + "; ".join(f"{server}: {why}" for server, why in faults.items()))


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
