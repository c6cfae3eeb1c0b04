"""Who is watched: Penstock's services by configuration, servers and model versions as their owner names them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from libs.errors import PASSING
from services.health_monitoring.domain.health import Remembered, Transition
from services.health_monitoring.domain.monitor import RECENT, Monitor
from services.health_monitoring.domain.target import Kind, Placement, Target, inference_targets

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.1
ATTEMPTS = 30


class Memory(Protocol):
    """What an earlier process knew. Raises Unavailable while it cannot be reached."""

    async def remembered(self) -> list[Remembered]: ...

    async def recent(self, of_each: int) -> list[Transition]:
        """The newest of each target, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class Fleet:
    """Servers, and model versions wanted on them, as their owner says. `aliases`: see Traffic.watch."""

    servers: Sequence[Target]
    placements: Sequence[Placement]
    aliases: Mapping[str, str] = field(default_factory=dict[str, str])


class Roster:
    """Tells the monitor and the probes whom to watch."""

    def __init__(
        self,
        services: Iterable[Target],
        monitor: Monitor,
        probe: Callable[[Iterable[Target]], None],
        now: Callable[[], datetime],
    ) -> None:
        self._services = tuple(services)
        self._monitor = monitor
        self._probe = probe
        self._now = now

    async def restore(self, memory: Memory, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        """Begin with what was remembered, so that neither a restart nor an owner that is down makes anybody unknown.

        Where the memory cannot be reached for 3 s, begin with nothing.
        """
        for _ in range(ATTEMPTS):
            try:
                remembered, transitions = await memory.remembered(), await memory.recent(RECENT)
            except PASSING:
                await sleep(RETRY_SECONDS)
                continue
            self._monitor.restore(remembered, transitions)
            inference = [each.target for each in remembered if each.target.kind is not Kind.SERVICE]
            self._watch(inference, {}, everyone=bool(inference))
            return
        log.warning("starting without what was known before: the store cannot be reached")
        self._watch((), {}, everyone=False)

    def fleet(self, fleet: Fleet) -> None:
        """The owner of servers and deployments has spoken."""
        known = {target.identity for target in self._monitor.targets()}
        self._watch(inference_targets(fleet.servers, fleet.placements, known), fleet.aliases, everyone=True)

    def _watch(self, inference: Iterable[Target], aliases: Mapping[str, str], *, everyone: bool) -> None:
        targets = (*self._services, *inference)
        self._monitor.watch(targets, aliases, self._now(), everyone=everyone)
        self._probe(targets)
