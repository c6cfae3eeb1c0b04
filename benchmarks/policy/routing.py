"""Routing without its neighbours, in a process of its own: what is known, the compilation, its file, the ADS server.

Changes come on stdin as lines of JSON, what became of them goes to stdout. Postgres and the watches of siblings are not
here: a change is what they would have said, the whole of it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import psutil

from benchmarks.policy import policies
from libs.clock import SystemClock
from services.routing.compilation import Compilation
from services.routing.domain.known import Ears, Known
from services.routing.domain.policy import Inputs
from services.routing.domain.snapshot import Snapshot
from services.routing.stores.last_known import LastKnownFile
from services.routing.xds.ads import Ads
from services.routing.xds.resources import SnapshotCompiler


class Routing:
    """Put together as services.routing does, and timed."""

    def __init__(self, known: Known, folder: Path) -> None:
        self.ads = Ads(SystemClock())
        self._ears = Ears(known)
        self._compiler = SnapshotCompiler(authentication=True)
        self._compilation = Compilation(self._ears, self._compile, self._publish, LastKnownFile(folder))
        self._seconds = self._busy = 0.0
        self._revision = ""
        self._published = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._compilation.run())
            tasks.create_task(self._acknowledgements())
            async for line in _lines():
                self._change(**json.loads(line))

    def _change(self, part: str, n: int, value: Any) -> None:
        word = policies.said(self._ears.known, part, n, value)
        _tell(heard=time.perf_counter())
        getattr(self._ears, part)(word)

    def _compile(self, inputs: Inputs) -> Snapshot:
        started, busy = time.perf_counter(), time.thread_time()
        snapshot = self._compiler.compile(inputs)
        self._seconds, self._busy = time.perf_counter() - started, time.thread_time() - busy
        return snapshot

    def _publish(self, snapshot: Snapshot) -> None:
        self.ads.publish(snapshot)
        self._revision = snapshot.revision
        self._published.set()
        _tell(
            compiled=self._seconds,
            busy=self._busy,
            compiled_at=time.perf_counter(),
            memory=psutil.Process().memory_info().rss,
        )

    async def _acknowledgements(self) -> None:
        """Looked for only after a snapshot is out, so that looking takes nothing from the compiler."""
        connected = False
        while True:
            await self._published.wait()
            self._published.clear()
            told = ""
            while not self._published.is_set() and told != self._revision:
                await asyncio.sleep(0.001)
                if not connected and self.ads.proxies():
                    connected = True
                    _tell(connected_at=time.perf_counter())
                found = self.ads.acknowledged("")
                told = found[1].revision if found else ""
            if told == self._revision:
                _tell(acknowledged=told, acknowledged_at=time.perf_counter())


async def _lines() -> Any:
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    while line := await stdin.readline():
        yield line


def _tell(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def main(address: str, routes: str, backend: str, folder: str) -> None:
    routing = Routing(policies.known(int(routes), backend), Path(folder))
    server = grpc.aio.server()
    routing.ads.register(server)
    server.add_insecure_port(address)
    await server.start()
    await routing.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
