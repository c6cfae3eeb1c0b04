"""All servers' control loops, in the one replica that leads."""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from libs.errors import PenstockError
from services.model_serving.domain.control import ServerLoop
from services.model_serving.domain.deployment import Server

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
SETTLING_SECONDS = 0.05


class Servers(Protocol):
    """Each raises Unavailable."""

    async def seed(self, addresses: Mapping[str, str], metrics: Mapping[str, str]) -> None: ...
    async def servers(self) -> Sequence[Server]: ...
    async def lead(self, work: Callable[[], Coroutine[None, None, None]]) -> bool:
        """Run the work for as long as no other replica leads; False at once when another one does."""
        ...


class Fleet:
    """`seeds` and `metrics` are addresses by the name of each server that is there from the start."""

    def __init__(
        self,
        servers: Servers,
        start: Callable[[Server], Coroutine[None, None, ServerLoop]],
        seeds: Mapping[str, str],
        metrics: Mapping[str, str],
    ) -> None:
        self._servers = servers
        self._start = start
        self._seeds = seeds
        self._metrics = metrics
        self._loops: dict[str, tuple[ServerLoop, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self.settled = asyncio.Event()
        """Set once what is stored may be trusted: another replica leads, or each server has been asked."""

    def wake(self) -> None:
        """Something was written that loops should see now."""
        self._wake.set()
        for loop, _ in self._loops.values():
            loop.wake()

    async def run(self) -> None:
        """For ever: lead, or wait to."""
        while True:
            try:
                if not await self._servers.lead(self._lead):
                    self.settled.set()
            except PenstockError as error:
                log.warning("not in charge of servers: %s", error)
            await self._pause(EVERY_SECONDS)

    async def _lead(self) -> None:
        log.info("in charge of servers")
        await self._servers.seed(self._seeds, self._metrics)
        try:
            while True:
                await self._follow(await self._servers.servers())
                await self._pause(EVERY_SECONDS if self.settled.is_set() else SETTLING_SECONDS)
        finally:
            await self._end(self._loops)

    async def _pause(self, seconds: float) -> None:
        """Until then, or until woken: also when the store can be reached again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    async def _follow(self, servers: Sequence[Server]) -> None:
        """One loop for each server, begun anew where the server has another address or folder."""
        known = {server.name: server for server in servers}
        for _, task in self._loops.values():
            if task.done():
                task.result()
        await self._end([name for name, (loop, _) in self._loops.items() if not _is(loop.server, known.get(name))])
        for server in servers:
            if server.name not in self._loops:
                loop = await self._start(server)
                self._loops[server.name] = loop, asyncio.create_task(loop.run())
        if all(loop.observed.is_set() for loop, _ in self._loops.values()):
            self.settled.set()

    async def _end(self, names: Sequence[str] | Mapping[str, object]) -> None:
        tasks = [self._loops.pop(name)[1] for name in list(names)]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def _is(one: Server, other: Server | None) -> bool:
    return other is not None and (one.address, one.repository_path) == (other.address, other.repository_path)
