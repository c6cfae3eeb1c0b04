"""One loop turns what is known into the policy in force: news, compile, publish, keep."""

import asyncio
import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram, Info

from services.routing.domain.compiled import Fault
from services.routing.domain.known import Ears, Known
from services.routing.domain.policy import Inputs
from services.routing.domain.snapshot import Resource, Snapshot

log = logging.getLogger(__name__)

COMPILE_SECONDS = Histogram(
    "penstock_policy_compile_seconds",
    "Time from the inputs to a policy's resources.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
COMPILE_FAILURES = Counter("penstock_policy_compile_failures", "Inputs that were not compiled: the last policy stays.")
POLICY = Info("penstock_policy", "The revision that was compiled last.")
FAULTS = Gauge("penstock_policy_faults", "Inputs of the newest policy that could not be honoured.")

PATIENCE_SECONDS = 5.0
NAMES_TOLD = 5
GROWTH = 1.25
KEPT_APART_SECONDS = 0.5
YOUNG_OBJECTS = 50_000
"""A collection for each 700, Python's default, is a third of the time that a policy of 600,000 takes to compile."""


class Keeper(Protocol):
    def write(self, known: Known) -> None:
        """Raises OSError."""
        ...


class Compilation:
    """Compiles one at a time, off the event loop; what changes meanwhile is compiled together, next."""

    def __init__(
        self,
        ears: Ears,
        compile_snapshot: Callable[[Inputs], Snapshot],
        publish: Callable[[Snapshot], None],
        keeper: Keeper,
        *,
        record: Callable[[Snapshot, Inputs], None] = lambda _snapshot, _inputs: None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._ears = ears
        self._compile = compile_snapshot
        self._publish = publish
        self._keeper = keeper
        self._record = record
        self._patience = patience_seconds
        self._newest: Snapshot | None = None
        self._in_force = Known()
        self._unkept = asyncio.Event()
        self._writing = threading.Lock()
        self._settled = 0

    @property
    def newest(self) -> Snapshot | None:
        """What was published last; None before the first."""
        return self._newest

    async def run(self) -> None:
        gc.set_threshold(YOUNG_OBJECTS)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep())
            known = await self._first()
            while True:
                await self._renew(known)
                known = await self._ears.news()

    async def _first(self) -> Known:
        """Never compile from nothing. What the first start ever lacks may come late, but is not waited for for ever."""
        known = await self._ears.news()
        while not known.sufficient:
            log.info("no policy yet, waiting for: %s", ", ".join(known.missing))
            known = await self._ears.news()
        try:
            async with asyncio.timeout(self._patience):
                while known.missing:
                    known = await self._ears.news()
        except TimeoutError:
            log.warning("compiling without %s: never heard, it is taken to be empty", " and ".join(known.missing))
        return known

    async def _renew(self, known: Known) -> None:
        started = time.perf_counter()
        inputs = known.inputs()
        try:
            snapshot = await asyncio.to_thread(self._compile, inputs)
        except Exception:  # a policy that cannot be compiled must not end the process that serves the last one
            COMPILE_FAILURES.inc()
            log.exception("the policy could not be compiled, the last one stays in force")
            return
        seconds = time.perf_counter() - started
        COMPILE_SECONDS.observe(seconds)
        self._tell(snapshot, seconds)
        self._publish(snapshot)
        self._newest = snapshot
        self._record(snapshot, inputs)
        POLICY.info({"revision": snapshot.revision})
        FAULTS.set(len(snapshot.policy.faults))
        self._in_force = known
        self._unkept.set()
        await asyncio.to_thread(self._settle, len(snapshot.policy.models))

    async def _keep(self) -> None:
        """Beside the compiling, which does not wait for the disk; what changes meanwhile is kept together, next."""
        try:
            while True:
                await self._unkept.wait()
                self._unkept.clear()
                await asyncio.to_thread(self._write, self._in_force)
                await asyncio.sleep(KEPT_APART_SECONDS)
        finally:
            if self._unkept.is_set():  # no next time: whoever stops routing finds the newest when it starts
                self._write(self._in_force)

    def _write(self, known: Known) -> None:
        with self._writing:  # a thread goes on when the one who awaits it is cancelled
            try:
                self._keeper.write(known)
            except OSError as error:
                log.error("what is known was not kept, a restart would begin with older: %s", error)  # noqa: TRY400  the trace says no more

    def _settle(self, models: int) -> None:
        """Spare the collector the policy: it walks 200 ms through 10,000 routes, in which every change would wait.

        What is frozen is still freed when the last reference goes; only where the policy has grown is it done again.
        """
        if models > GROWTH * self._settled:
            self._settled = models
            gc.collect()
            gc.freeze()

    def _tell(self, snapshot: Snapshot, seconds: float) -> None:
        before = self._newest
        if before is None or before.revision != snapshot.revision:
            changes = "; ".join(differences(before, snapshot)) or "nothing in it"
            log.info("policy %s compiled in %.1f ms: %s", snapshot.revision, seconds * 1000, changes)
        told = frozenset(before.policy.faults) if before else frozenset[Fault]()
        for fault in snapshot.policy.faults:
            if fault not in told:
                log.warning("model %s: %s", fault.model, fault.message)


def differences(before: Snapshot | None, after: Snapshot) -> Iterator[str]:
    """`Cluster: 1 new (a), 2 changed (b, c)`, for each type in which anything differs."""
    had: Mapping[str, Mapping[str, Resource]] = before.resources if before else {}
    for type_url in sorted({*had, *after.resources}):
        old, new = had.get(type_url, {}), after.resources.get(type_url, {})
        others = {name for name, resource in new.items() if old.get(name) is not resource}
        groups = {
            "new": others - old.keys(),
            "changed": {name for name in others & old.keys() if new[name].version != old[name].version},
            "gone": old.keys() - new.keys(),
        }
        told = [f"{len(names)} {what} ({_some(names)})" for what, names in groups.items() if names]
        if told:
            yield f"{type_url.rpartition('.')[2]}: {', '.join(told)}"


def _some(names: set[str]) -> str:
    first = sorted(names)[:NAMES_TOLD]
    return ", ".join(first) + (", …" if len(names) > NAMES_TOLD else "")
