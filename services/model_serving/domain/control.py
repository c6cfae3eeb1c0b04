"""The control loop of one server: ask what it has, decide, act. A server that hangs stalls nobody but itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Protocol

from libs.errors import PenstockError
from services.model_serving.domain.deployment import PlacementState, Server, Wanted
from services.model_serving.domain.loading import Loader, Ourselves, Refused, Triton, Unreachable
from services.model_serving.domain.reconcile import Change, Load, Plan, Seen, Unseen, Work, reconcile, undecided
from services.model_serving.domain.signature import Signature

log = logging.getLogger(__name__)

EVERY_SECONDS = 0.5
# so many times in a row an answer may be missing before people are told; callers go there all the while
MOST_SILENT = 2


class Placements(Protocol):
    """What is wanted on servers; each call raises Unavailable."""

    async def wanted(self, server: str) -> Sequence[Wanted]: ...
    async def move(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Together. Those that were made: the others' placements are no longer what they were before, or the last."""
        ...

    async def learn(self, model: str, version: str, signature: Signature, max_batch_size: int) -> None: ...


class Servers(Protocol):
    async def observe_server(self, server: str, *, reachable: bool, version: str) -> None: ...


class Outcomes(Protocol):
    """Hears how work ended, for metrics."""

    def __call__(self, server: str, work: str, outcome: str) -> None: ...


class ServerLoop:
    """Run `run()` in one process at a time for each server."""

    def __init__(
        self,
        server: Server,
        triton: Triton,
        placements: Placements,
        servers: Servers,
        loader: Loader,
        now: Callable[[], datetime],
        drain: timedelta,
        outcomes: Outcomes,
    ) -> None:
        self.server = server
        self._triton = triton
        self._placements = placements
        self._servers = servers
        self._loader = loader
        self._now = now
        self._drain = drain
        self._outcomes = outcomes
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._silent = 0
        self._reachable: bool | None = None
        self._version: str | None = None
        self._wake = asyncio.Event()
        self.observed = asyncio.Event()
        """Set once the server has been asked and what it said is stored."""

    def wake(self) -> None:
        """Begin the next round now."""
        self._wake.set()

    async def run(self) -> None:
        """For ever. What the store does not take now is decided again in the next round."""
        listening = asyncio.create_task(self._listen())
        try:
            while True:
                self._wake.clear()
                try:
                    await self.round()
                except PenstockError as error:
                    log.warning("server %s: %s", self.server.name, error)
                with suppress(TimeoutError):
                    # not wait_for: in Python 3.11 it forgets that it was cancelled when it is woken at the same moment
                    async with asyncio.timeout(EVERY_SECONDS):
                        await self._wake.wait()
        finally:
            listening.cancel()
            await self._abandon()

    async def _listen(self) -> None:
        while True:
            await self._triton.lost()
            self._version = None
            self._wake.set()

    async def round(self) -> None:
        """Ask, decide, and begin what is to be done."""
        wanted = await self._placements.wanted(self.server.name)
        try:
            seen = await self._observe(wanted)
        except Unreachable as error:
            if not error.gone and self._silent <= MOST_SILENT:
                return
            await self._unreachable(str(error), abandon=error.gone)
            seen = Unseen.GONE if error.gone else Unseen.SILENT
        except Ourselves:
            seen = Unseen.OURSELVES
            await self._unreachable(seen.value, abandon=True)
        owner, drain = self._loader.owner, self._drain
        await self._apply(reconcile(wanted, seen, self._tasks, self._now(), owner=owner, drain=drain), wanted)
        self.observed.set()

    async def _observe(self, wanted: Sequence[Wanted]) -> Seen:
        try:
            version = self._version
            if version is None:
                # before anything else: asked for what is ready, Penstock would ask its servers, and so itself again
                with suppress(Unreachable):
                    version = await self._triton.version()
            seen = await self._triton.observe(sorted(undecided(wanted)))
            if version is None:
                version = await self._triton.version()
            self._version = version
            if not self._reachable:
                await self._found(version)
        except Unreachable as error:
            self._silent += not error.gone
            raise
        self._silent = 0
        return seen

    async def _found(self, version: str) -> None:
        await self._servers.observe_server(self.server.name, reachable=True, version=version)
        self._reachable = True
        log.info("server %s answers at %s", self.server.name, self.server.address)

    async def _unreachable(self, why: str, *, abandon: bool) -> None:
        self._version = None
        if abandon:
            await self._abandon()
        if self._reachable is not False:
            log.warning("server %s does not answer at %s: %s", self.server.name, self.server.address, why)
            await self._servers.observe_server(self.server.name, reachable=False, version="")
            self._reachable = False

    async def _abandon(self) -> None:
        """End the work under way: what it was for is decided again from what the server then has."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _apply(self, plan: Plan, wanted: Sequence[Wanted]) -> None:
        versions = {w.key: w.version for w in wanted}
        ready = [c.key for c in plan.changes if c.after is not None and c.after.state is PlacementState.READY]
        unknown = {key for key in ready if not versions[key].signature or versions[key].max_batch_size is None}
        unknown -= {key for key in unknown if await self._learn(*key)}
        await self._move([change for change in plan.changes if change.key not in unknown])
        for work in plan.work:
            self._tasks[work.model] = asyncio.create_task(self._work(work))

    async def _learn(self, model: str, version: str) -> bool:
        """Read the signature of a version that came without one, before anybody is sent there."""
        try:
            signature, max_batch_size = await self._triton.describe(model, version)
        except (Refused, Unreachable) as error:
            log.warning("server %s does not describe %s %s: %s", self.server.name, model, version, error)
            return False
        await self._placements.learn(model, version, signature, max_batch_size)
        return True

    async def _move(self, changes: Sequence[Change]) -> None:
        for change in await self._placements.move(changes) if changes else ():
            model, version = change.key
            state, message = (change.after.state.name, change.after.message) if change.after else ("gone", "")
            log.info("%s %s on server %s: %s %s", model, version, self.server.name, state, message)

    async def _work(self, work: Work) -> None:
        try:
            if isinstance(work, Load):
                await self._load(work)
            else:
                ours = any(not w.version.external for w in work.drop)
                unloading = self._loader.unload(self._triton, self.server, work.model, ours=ours)
                await self._attempt("unload", unloading, work.drop)
        except (Unreachable, PenstockError) as error:
            # the next round asks the server itself, and the store again
            log.warning("server %s, %s: %s", self.server.name, work.model, error)
        finally:
            self._tasks.pop(work.model, None)
            self._wake.set()

    async def _load(self, work: Load) -> None:
        keep = [w.version for w in work.keep]
        if not work.add:
            await self._attempt("drop", self._loader.load(self._triton, self.server, keep), work.drop)
            return
        every = [*keep, *(w.version for w in work.add)]
        alone = len(work.add) == 1
        together = self._loader.load(self._triton, self.server, every)
        if await self._attempt("load", together, work.add if alone else ()) or alone:
            return
        # one of them is at fault, and must not cost the others their place
        for w in work.add:
            if await self._attempt("load", self._loader.load(self._triton, self.server, [*keep, w.version]), [w]):
                keep.append(w.version)

    async def _attempt(self, what: str, call: Awaitable[None], answerable: Sequence[Wanted]) -> bool:
        """Says whether it went well; a refusal is written into the placements that it is about."""
        try:
            await call
        except Refused as refusal:
            message = str(refusal)
            log.warning("server %s refused a %s: %s", self.server.name, what, message)
        except (Unreachable, PenstockError):
            raise
        except Exception as fault:  # a fault of ours over one model must show, and not be tried without a pause
            message = f"{type(fault).__name__}: {fault}"
            log.exception("server %s, %s", self.server.name, what)
        else:
            self._outcomes(self.server.name, what, "done")
            return True
        self._outcomes(self.server.name, what, "refused")
        now = self._now()
        await self._move([Change(w.key, w.placement, w.placement.refused(now, message)) for w in answerable])
        return False
