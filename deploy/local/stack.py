"""A stack as one object: start it, stop it, and do to its parts what chaos would."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from deploy.local import parts, record, redis, triton
from deploy.local.places import CHECKOUT, Places, UnusableDirectory
from deploy.local.ports import Ports
from deploy.local.postgres import Postgres
from deploy.local.processes import Identity, kill_all, wait_until
from deploy.local.record import Record

START_SECONDS = 120.0
STOP_SECONDS = 60.0
KEPT_LOG_BYTES = 8 * 1024 * 1024
LOG_TAIL_LINES = 15
# three deaths in a row are no accident
TOO_MANY_FAILURES = 3
HOLD_SECONDS = 40.0
KILL_SECONDS = 10.0


class StackFailed(Exception):
    """The stack did not come up; the message says which part, why, and the end of its log."""


@dataclass(frozen=True)
class Stack:
    """Some or all parts in one home directory, kept by a supervisor process of their own."""

    places: Places
    ports: Ports
    names: tuple[str, ...] = parts.ALL
    durable: bool = True

    def start(self, *, parent: int | None = None, within: float = START_SECONDS) -> bool:
        """Start what does not run and wait until every part is ready; False when all of it ran already.

        With `parent`, the stack ends by itself once that process is gone.
        Raises PortInUse, UnknownPart, UnusableDirectory, NoSharedPython, StackFailed.
        """
        with self._alone():
            known = record.read(self.places)
            if known is not None and known.alive() and known.stopping:
                wait_until(lambda: not known.alive(), STOP_SECONDS)
            if known is not None and known.alive():
                try:
                    self._wait_until_ready(known.alive, within)
                except StackFailed:
                    if known.alive():
                        raise
                else:
                    return False
            self.clean()
            built = parts.build(self.places, self.ports, self.names, durable=self.durable)
            reserved = self.ports.reserve([(part.name, port) for part in built for port in part.ports])
            supervisor = self._launch(parent, reserved)
            try:
                self._wait_until_ready(lambda: supervisor.poll() is None, within)
            except BaseException:  # an interrupt too must not leave half a stack running
                self._end_all(within=STOP_SECONDS)
                raise
            finally:
                supervisor.returncode = 0  # it outlives this process: nobody here waits for it
            return True

    def stop(self, within: float = STOP_SECONDS) -> bool:
        """Stop every part, services first; False when nothing ran. What outlives `within` seconds is killed."""
        with self._alone():
            return self._end_all(within)

    def clean(self) -> None:
        """Kill what is left of a run whose supervisor is gone or hangs: by pid and start time, nothing else."""
        left = record.read(self.places)
        if left is not None:
            kill_all(left.supervisor.family())
            kill_all(i for part in left.parts.values() if part.process for i in part.process.family())
        record.remove(self.places)
        shutil.rmtree(self.places.home / "held", ignore_errors=True)

    def remove(self) -> None:
        """Forget a stopped stack's short directory; its home is the caller's."""
        shutil.rmtree(self.places.run, ignore_errors=True)

    def record(self) -> Record | None:
        """What the supervisor last wrote; None when nothing runs here."""
        known = record.read(self.places)
        return known if known is not None and known.alive() else None

    def pid(self, part: str) -> int:
        """Raises LookupError while the part does not run."""
        return self.process(part).pid

    def ready(self, part: str) -> bool:
        """Whether its last probe succeeded and its process still runs."""
        known = self.record()
        return known is not None and known.parts[part].serves()

    def restarts(self, part: str) -> int:
        known = self.record()
        return 0 if known is None else known.parts[part].restarts

    def alive(self, part: str) -> bool:
        """Whether its process runs, ready or not."""
        known = self.record()
        process = None if known is None else known.parts[part].process
        return process is not None and process.alive()

    def kill(self, part: str) -> None:
        """kill -9; returns once it is dead. The supervisor brings it back: `wait_ready`."""
        process = self.process(part)
        process.send(signal.SIGKILL)
        wait_until(lambda: not process.alive(), KILL_SECONDS)

    def suspend(self, part: str) -> None:
        """SIGSTOP the whole part, children too, until `resume`."""
        self._send_family(part, signal.SIGSTOP)

    def resume(self, part: str) -> None:
        self._send_family(part, signal.SIGCONT)

    def send(self, part: str, number: signal.Signals) -> None:
        """Raises LookupError when the part does not run."""
        if not self.process(part).send(number):
            raise LookupError(f"{part} has just ended")

    def restart(self, part: str, within: float = START_SECONDS) -> None:
        """End it cleanly and wait until it is ready again."""
        before = self.process(part)
        self._end(part)
        self.wait_ready(part, within, unless=before)

    @contextlib.contextmanager
    def held_down(self, part: str) -> Generator[None]:
        """Within the block the part is down, cleanly ended; afterwards it comes back by itself."""
        self.hold(part)
        try:
            yield
        finally:
            self.release(part)

    def hold(self, part: str, *, kill: bool = False) -> None:
        """End the part (`kill`: with -9) and keep it down until `release`. Returns once it is gone for good."""
        record.hold(self.places, part)

        def down() -> bool:
            known = self.record()
            if known is not None and known.parts[part].held:
                return True
            # the supervisor may have been about to start it: ask again
            with contextlib.suppress(LookupError):
                self._end(part, signal.SIGKILL if kill else None)
            return False

        if not wait_until(down, HOLD_SECONDS):
            raise StackFailed(self.failure(f"{part} did not stay down"))

    def release(self, part: str) -> None:
        """Let a held part start again; does not wait for it."""
        record.release(self.places, part)

    def wait_ready(self, part: str, within: float = START_SECONDS, *, unless: Identity | None = None) -> None:
        """Until the part is ready, as another process than `unless`. Raises StackFailed after `within` seconds."""

        def there() -> bool:
            known = self.record()
            return known is not None and known.parts[part].serves() and known.parts[part].process != unless

        if not wait_until(there, within):
            raise StackFailed(self.failure(f"{part} was not ready within {within:.0f} s"))

    @property
    def postgres_dsn(self) -> str:
        return Postgres.of(self.places).dsn()

    @property
    def redis_url(self) -> str:
        return redis.url(self.ports)

    def address(self, port: str) -> str:
        """`127.0.0.1:port` of a name in `ports.DEFAULTS`."""
        return f"127.0.0.1:{self.ports[port]}"

    def repository(self, server: str) -> Path:
        """The model repository directory of Triton `a` or `b`."""
        return triton.repository(self.places, server)

    def failure(self, headline: str) -> str:
        """The headline, each part that is not ready with its problem, and the end of its log."""
        known = record.read(self.places)
        lines = [headline]
        for name, part in (known.parts if known else {}).items():
            if not part.ready:
                lines += [f"  {name}: {part.problem}", *_tail(self.places.log(name))]
        return "\n".join(lines if len(lines) > 1 else [headline, *_tail(self.places.log("supervisor"))])

    def _end_all(self, within: float) -> bool:
        known = record.read(self.places)
        if known is not None and known.alive():
            known.supervisor.send(signal.SIGTERM)
            known.supervisor.send(signal.SIGCONT)
            wait_until(lambda: not known.alive(), within)
        self.clean()
        return known is not None

    def _launch(self, parent: int | None, reserved: list[socket.socket]) -> subprocess.Popen[bytes]:
        for name in (*self.names, "supervisor"):
            _rotate(self.places.log(name))
        what = {"home": str(self.places.home), "parts": self.names, "durable": self.durable, "parent": parent}
        with contextlib.ExitStack() as closing, self.places.log("supervisor").open("ab") as log:
            for port in reserved:
                closing.enter_context(port)
            return subprocess.Popen(
                [sys.executable, "-m", "deploy.local.supervise", json.dumps(what)],
                cwd=CHECKOUT,
                env={**os.environ, **self.ports.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # it holds them for life, also while a part is down
                pass_fds=[port.fileno() for port in reserved],
            )

    def _wait_until_ready(self, alive: Callable[[], bool], within: float) -> None:
        def settled() -> bool:
            known = record.read(self.places)
            ready = known is not None and known.alive() and known.serves()
            return ready or not alive() or (known is not None and self._failing(known) is not None)

        done = wait_until(settled, within)
        known = record.read(self.places)
        if known is not None and known.alive() and known.serves():
            return
        failing = None if known is None else self._failing(known)
        why = f"{failing} keeps dying" if failing else f"not ready within {within:.0f} s" if not done else "it died"
        raise StackFailed(self.failure(f"the stack did not start: {why}"))

    @staticmethod
    def _failing(known: Record) -> str | None:
        return next((n for n, p in known.parts.items() if p.failures >= TOO_MANY_FAILURES), None)

    def process(self, part: str) -> Identity:
        """Who it is now, to tell it from its successor. Raises LookupError while the part does not run."""
        known = self.record()
        process = None if known is None else known.parts[part].process
        if process is None:
            raise LookupError(f"{part} does not run")
        return process

    def _send_family(self, part: str, number: signal.Signals) -> None:
        for identity in self.process(part).family():
            identity.send(number)

    def _end(self, part: str, number: signal.Signals | None = None) -> None:
        process = self.process(part)
        built = parts.build(self.places, self.ports, [part])[0]
        process.send(number or built.stop_signal)
        process.send(signal.SIGCONT)
        wait_until(lambda: not process.alive(), built.grace)
        kill_all(process.family())

    @contextlib.contextmanager
    def _alone(self) -> Generator[None]:
        try:
            with (self.places.home / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except PermissionError as fault:
            raise UnusableDirectory(
                f"{fault.filename or self.places.home} belongs to another user: was the stack started as root once?"
                f" Remove {self.places.home} as that user, or set PENSTOCK_HOME."
            ) from fault


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > KEPT_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def _tail(log: Path) -> list[str]:
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        return [f"    {line}" for line in file.read().decode(errors="replace").splitlines()[-LOG_TAIL_LINES:]]
