"""Which servers can serve a version now, as server sets that many versions share."""

import hashlib
from collections.abc import Iterable, Mapping

from services.routing.domain.compiled import Endpoint, ServerSet
from services.routing.domain.policy import Deployment, LoadBalancing, ModelVersion, Server, Unhealthy


class Fleet:
    """The facts about servers, and the sets that were asked for so far. One compilation owns one."""

    def __init__(
        self, servers: Iterable[Server], deployments: Iterable[Deployment], unhealthy: Iterable[Unhealthy]
    ) -> None:
        self.servers: Mapping[str, Server] = {
            server.id: server for server in sorted(servers, key=lambda s: (s.id, s.address, s.port))
        }
        self.ready: Mapping[ModelVersion, tuple[str, ...]] = {
            ModelVersion(d.model, d.version): tuple(sorted(set(d.servers) & self.servers.keys()))
            for d in sorted(deployments, key=lambda d: (d.model, d.version, d.servers))
        }
        self.unhealthy: Mapping[tuple[str, str, str], str] = {
            (u.server, u.model, u.version): u.reason
            for u in sorted(unhealthy, key=lambda u: (u.server, u.model, u.version, u.reason))
        }
        self.sets: dict[str, ServerSet] = {}
        self._names: dict[tuple[LoadBalancing, tuple[str, ...]], str] = {}

    def sound(self, target: ModelVersion) -> bool:
        """Whether some server has the version ready, and neither is unhealthy."""
        return any(self.fault(server, target) is None for server in self.ready.get(target, ()))

    def fault(self, server: str, target: ModelVersion) -> str | None:
        """Why a server that has the version ready should not get its calls."""
        whole = self.unhealthy.get((server, "", ""))
        return whole if whole is not None else self.unhealthy.get((server, target.model, target.version))

    def absence(self, target: ModelVersion) -> str:
        """Why no attempt is spent on a version that is not sound."""
        if target not in self.ready:
            return f"version {target.version} of {target.model} is not deployed"
        servers = self.ready[target]
        if not servers:
            return f"version {target.version} of {target.model} is ready on no server"
        return "unhealthy: " + "; ".join(f"{server}: {self.fault(server, target)}" for server in servers)

    def serve(self, target: ModelVersion, load_balancing: LoadBalancing) -> str:
        """The name of the set of servers for a version that is ready somewhere.

        Servers where just this version is unhealthy belong to another set; a server that is unhealthy as a whole
        leaves the set's endpoints only, so that its return changes nothing but them. Where no server is left that is
        sound, all that are ready are members: one that only this version is out on may answer, a dead one will not.
        """
        ready = self.ready[target]
        if self.sound(target):
            members = tuple(s for s in ready if (s, target.model, target.version) not in self.unhealthy)
        else:
            members = ready
        name = self._names.get((load_balancing, members))
        if name is None:
            name = "set-" + digest(load_balancing.value, *members)
            self._names[load_balancing, members] = name
            self.sets[name] = ServerSet(name, load_balancing, self._endpoints(members))
        return name

    def _endpoints(self, members: tuple[str, ...]) -> tuple[Endpoint, ...]:
        reasons = {server: self.unhealthy.get((server, "", "")) for server in members}
        last_door = None not in reasons.values()
        return tuple(
            Endpoint(
                server,
                self.servers[server].address,
                self.servers[server].port,
                self.servers[server].weight,
                included=reason is None or last_door,
                reason="" if reason is None else reason,
            )
            for server, reason in reasons.items()
        )


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
