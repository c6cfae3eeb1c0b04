"""What the owners of the policy's inputs have said last, and that it stays in force while they are silent."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from services.routing.domain.policy import (
    Allocation,
    ApiKey,
    Deployment,
    Inputs,
    Issuer,
    RateLimit,
    Route,
    Server,
    ServerWeight,
    Unhealthy,
)

Said = TypeVar("Said")


@dataclass(frozen=True, slots=True)
class Deployed:
    """Servers and what is ready on them."""

    servers: tuple[Server, ...] = ()
    deployments: tuple[Deployment, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """Who must get no traffic, and how the others share it where they are weighed."""

    unhealthy: tuple[Unhealthy, ...] = ()
    weights: tuple[ServerWeight, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """The last word of each owner; None until it has spoken for the first time ever, restarts included."""

    routes: tuple[Route, ...] | None = None
    deployed: Deployed | None = None
    allocations: tuple[Allocation, ...] | None = None
    unhealthy: tuple[Unhealthy, ...] | None = None
    keys: tuple[ApiKey, ...] | None = None
    limits: tuple[RateLimit, ...] | None = None
    weights: tuple[ServerWeight, ...] = ()
    """Told together with `unhealthy`."""
    issuers: tuple[Issuer, ...] = ()
    """Not kept: their file is read when routing starts."""

    @property
    def sufficient(self) -> bool:
        """Without routes and servers there is nothing to compile, and an empty policy would be a wrong one."""
        return self.routes is not None and self.deployed is not None

    @property
    def missing(self) -> tuple[str, ...]:
        said = {
            "routes": self.routes,
            "deployments": self.deployed,
            "allocations": self.allocations,
            "health": self.unhealthy,
            "keys": self.keys,
            "limits": self.limits,
        }
        return tuple(name for name, word in said.items() if word is None)

    def inputs(self) -> Inputs:
        """With nobody known to be unhealthy, no experiment, key and limit where their owners have never spoken."""
        deployed = self.deployed or Deployed()
        return Inputs(
            servers=deployed.servers,
            deployments=deployed.deployments,
            routes=self.routes or (),
            allocations=self.allocations or (),
            unhealthy=self.unhealthy or (),
            keys=self.keys or (),
            limits=self.limits or (),
            weights=self.weights,
            issuers=self.issuers,
        )


class Ears:
    """Where the followers put what they hear and the compilation waits for it. Belongs to one event loop."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._changed = asyncio.Event()
        self._changed.set()

    @property
    def known(self) -> Known:
        return self._known

    def routes(self, said: tuple[Route, ...]) -> None:
        self._hear(replace(self._known, routes=_kept(self._known.routes, said, lambda r: r.model)))

    def deployed(self, said: Deployed) -> None:
        known = self._known.deployed or Deployed()
        servers = _kept(known.servers, said.servers, lambda s: s.id)
        deployments = _kept(known.deployments, said.deployments, lambda d: (d.model, d.version))
        self._hear(replace(self._known, deployed=Deployed(servers, deployments)))

    def allocations(self, said: tuple[Allocation, ...]) -> None:
        self._hear(replace(self._known, allocations=_kept(self._known.allocations, said, lambda a: a.experiment)))

    def judged(self, said: Judged) -> None:
        self._hear(replace(self._known, unhealthy=said.unhealthy, weights=said.weights))

    def keys(self, said: tuple[ApiKey, ...]) -> None:
        self._hear(replace(self._known, keys=_kept(self._known.keys, said, lambda k: k.id)))

    def limits(self, said: tuple[RateLimit, ...]) -> None:
        self._hear(replace(self._known, limits=_kept(self._known.limits, said, lambda limit: limit.name)))

    def issuers(self, said: tuple[Issuer, ...]) -> None:
        self._hear(replace(self._known, issuers=_kept(self._known.issuers, said, lambda issuer: issuer.name)))

    async def news(self) -> Known:
        """The newest, once it differs from what was returned last; however much happened meanwhile."""
        await self._changed.wait()
        self._changed.clear()
        return self._known

    def _hear(self, known: Known) -> None:
        if known != self._known:
            self._known = known
            self._changed.set()


def _kept(before: tuple[Said, ...] | None, said: tuple[Said, ...], name: Callable[[Said], object]) -> tuple[Said, ...]:
    """What was said, with the very objects that say the same already: whoever compares the two later sees it at once,
    and of ten thousand items that are told again none has to be held twice.
    """
    known = {name(item): item for item in before or ()}

    def kept(item: Said) -> Said:
        old = known.get(name(item))
        return item if old is None or old != item else old

    return tuple(kept(item) for item in said)
