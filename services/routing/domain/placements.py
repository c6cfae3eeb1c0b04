"""Where versions are ready: servers and deployments, put in order."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from services.routing.domain.policy import Deployment, ModelVersion, Server

Placed = tuple[ModelVersion, tuple[str, ...]]
"""A deployed version and the servers that have it ready."""


class Placements:
    """Servers by id, ready servers by version, deployed versions by model: all in one order, whatever was given."""

    def __init__(self, servers: Iterable[Server], deployments: Iterable[Deployment]) -> None:
        self.servers: Mapping[str, Server] = {
            server.id: server for server in sorted(servers, key=lambda s: (s.id, s.address, s.port))
        }
        self.ready: Mapping[ModelVersion, tuple[str, ...]] = {
            ModelVersion(d.model, d.version): tuple(sorted(set(d.servers) & self.servers.keys()))
            for d in sorted(deployments, key=lambda d: (d.model, d.version, d.servers))
        }
        placed: defaultdict[str, list[Placed]] = defaultdict(list)
        for target, ready in self.ready.items():
            placed[target.model].append((target, ready))
        self._placed: Mapping[str, tuple[Placed, ...]] = {model: tuple(found) for model, found in placed.items()}

    @property
    def models(self) -> AbstractSet[str]:
        return self._placed.keys()

    def of(self, model: str) -> tuple[Placed, ...]:
        """Every deployed version of the model, by version."""
        return self._placed.get(model, ())
