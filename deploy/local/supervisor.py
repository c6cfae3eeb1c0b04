"""The process that starts the parts in order, restarts what dies, and stops all of it when asked.

One asyncio task for each part; the record file is its only output, marks in `held/` and SIGTERM its only input.
Nothing here is read by the product: health learns from its own probes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from deploy.local import record
from deploy.local.part import Part
from deploy.local.places import CHECKOUT, Places
from deploy.local.ports import Ports
from deploy.local.processes import Identity, kill_all
from deploy.local.record import PartRecord, Record

PROBE_EVERY_SECONDS = 0.1
WATCH_EVERY_SECONDS = 1.0
FIRST_BACK_OFF_SECONDS = 0.2
LONGEST_BACK_OFF_SECONDS = 5.0
# a part that ran this long before it died starts again at once
SETTLED_SECONDS = 10.0


class Supervisor:
    """Runs parts until told to stop. Single-threaded: all state belongs to the event loop."""

    def __init__(self, places: Places, ports: Ports, parts: Sequence[Part], *, parent: int | None = None) -> None:
        self._places = places
        self._parts = {part.name: part for part in parts}
        self._parent = parent
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._ready = {name: asyncio.Event() for name in self._parts}
        me = Identity.mine()
        listed = {p.name: PartRecord(ports={n: ports[n] for n in p.ports}) for p in parts}
        self._record = Record(me, listed)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, or until the parent is gone where one was named; then stops every part."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        record.write(self._places, self._record)
        tasks = [loop.create_task(self._keep(part)) for part in self._parts.values()]
        watching = loop.create_task(self._watch_parent(stop))
        stopped = loop.create_task(stop.wait())
        done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        self._record = replace(self._record, stopping=True)
        for task in [watching, stopped, *tasks]:
            task.cancel()
        await asyncio.gather(watching, stopped, *tasks, return_exceptions=True)
        await self._stop_all()
        record.remove(self._places)
        for task in done - {stopped}:
            task.result()

    async def _keep(self, part: Part) -> None:
        back_off = FIRST_BACK_OFF_SECONDS
        for attempt in range(sys.maxsize):
            await self._wait_until_wanted(part)
            for need in part.needs:
                await self._ready[need].wait()
            began = time.monotonic()
            self._note(part, restarts=attempt, problem="starting", held=False)
            try:
                await asyncio.to_thread(part.prepare)
                process = await self._spawn(part)
            except Exception as fault:  # noqa: BLE001  what keeps one part from starting must not end the others
                self._failed(part, f"cannot start: {fault or type(fault).__name__}")
            else:
                code = await self._attend(part, process)
                self._failed(part, f"ended with {code}; see {part.name}.log")
            back_off = FIRST_BACK_OFF_SECONDS if time.monotonic() - began > SETTLED_SECONDS else back_off
            await asyncio.sleep(back_off)
            back_off = min(back_off * 2, LONGEST_BACK_OFF_SECONDS)

    def _failed(self, part: Part, problem: str) -> None:
        failures = self._record.parts[part.name].failures + 1
        self._say(f"{part.name} {problem}")
        self._note(part, process=None, ready=False, failures=failures, problem=problem)

    async def _wait_until_wanted(self, part: Part) -> None:
        while part.name in record.held(self._places):
            if not self._record.parts[part.name].held:
                self._note(part, held=True, problem="held down")
            await asyncio.sleep(PROBE_EVERY_SECONDS)

    async def _spawn(self, part: Part) -> asyncio.subprocess.Process:
        uid, gid = part.account or (None, None)
        with self._places.log(part.name).open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *part.argv,
                env={**os.environ, **part.env},
                # another user may not be able to stand where we do
                cwd="/" if part.account else CHECKOUT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=uid,
                group=gid,
                extra_groups=[] if part.account else None,
            )
        self._processes[part.name] = process
        self._note(part, process=Identity.of(process.pid), problem="starting")
        return process

    async def _attend(self, part: Part, process: asyncio.subprocess.Process) -> int:
        watching = asyncio.create_task(self._watch(part))
        try:
            code = await process.wait()
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        self._ready[part.name].clear()
        left = self._record.parts[part.name].process
        if left:
            await asyncio.to_thread(kill_all, left.family())
        return code

    async def _watch(self, part: Part) -> None:
        while True:
            try:
                await part.ready()
            except Exception as fault:  # noqa: BLE001  a probe that fails in a new way has not found a ready part
                self._ready[part.name].clear()
                self._note(part, ready=False, problem=str(fault) or type(fault).__name__)
                await asyncio.sleep(PROBE_EVERY_SECONDS)
            else:
                self._ready[part.name].set()
                self._note(part, ready=True, failures=0, problem="")
                await asyncio.sleep(WATCH_EVERY_SECONDS)

    async def _watch_parent(self, stop: asyncio.Event) -> None:
        if self._parent is None:
            return
        parent = Identity.of(self._parent)
        while parent is not None and parent.alive():  # noqa: ASYNC110  the kernel sends no event for a non-child
            await asyncio.sleep(WATCH_EVERY_SECONDS)
        stop.set()

    async def _stop_all(self) -> None:
        for tier in sorted({part.tier for part in self._parts.values()}, reverse=True):
            await asyncio.gather(*(self._stop(part) for part in self._parts.values() if part.tier == tier))

    async def _stop(self, part: Part) -> None:
        process, known = self._processes.get(part.name), self._record.parts[part.name].process
        if process is None or known is None:
            return
        known.send(part.stop_signal)
        known.send(signal.SIGCONT)  # a stopped process would not even hear it
        try:
            await asyncio.wait_for(process.wait(), part.grace)
        except TimeoutError:
            self._say(f"{part.name} did not end within {part.grace:.0f} s: killed")
        await asyncio.to_thread(kill_all, known.family())
        self._note(part, process=None, ready=False, problem="stopped")

    def _note(self, part: Part, **changes: object) -> None:
        before = self._record.parts[part.name]
        after = replace(before, **changes)
        if after == before:
            return
        if after.ready != before.ready:
            after = replace(after, since=time.time())
            self._say(f"{part.name} is {'ready' if after.ready else 'not ready: ' + after.problem}")
        self._record = self._record.with_part(part.name, after)
        record.write(self._places, self._record)

    def _say(self, line: str) -> None:
        sys.stdout.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {line}\n")
        sys.stdout.flush()
