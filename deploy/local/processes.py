"""Processes by identity: a pid alone may belong to somebody else by the time that it is signalled."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """A process that we started: its pid, its start in clock ticks since boot, and which boot that was."""

    pid: int
    start: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """None when there is no such process, or only its zombie."""
        entry = _entry(pid)
        return None if entry is None or entry.state in "ZX" else cls(pid, entry.start, boot_id())

    @classmethod
    def mine(cls) -> Identity:
        """This very process."""
        me = cls.of(os.getpid())
        if me is None:
            raise ProcessLookupError("/proc does not show this process")
        return me

    def alive(self) -> bool:
        return Identity.of(self.pid) == self

    def send(self, number: signal.Signals) -> bool:
        """Signal this very process and no other; False when it is gone."""
        if not self.alive():
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
            return True
        return False

    def family(self) -> list[Identity]:
        """This process, where alive, and all that is left of the session that it led."""
        if self.boot != boot_id():
            return []
        leader = _entry(self.pid)
        if leader is not None and leader.start != self.start:
            return []  # the pid was given away, which Linux does only once the whole session is gone
        found = [e for e in _entries() if e.session == self.pid and e.start >= self.start and e.state not in "ZX"]
        return [Identity(e.pid, e.start, self.boot) for e in found]


@dataclass(frozen=True)
class _Entry:
    pid: int
    state: str
    session: int
    start: int


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def kill_all(identities: Iterable[Identity], within: float = 5.0) -> None:
    """SIGKILL each and wait until all are gone, at most `within` seconds."""
    doomed = list(identities)
    for identity in doomed:
        identity.send(signal.SIGKILL)
    wait_until(lambda: not any(i.alive() for i in doomed), within)


def wait_until(condition: Callable[[], bool], within: float, every: float = 0.05) -> bool:
    """Poll until `condition` holds; whether it did within so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True


def _entries() -> list[_Entry]:
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [entry for pid in pids if (entry := _entry(pid)) is not None]


def _entry(pid: int) -> _Entry | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # the command's name stands in parentheses and may itself contain spaces and parentheses
    fields = text[text.rindex(")") + 2 :].split()
    return _Entry(pid, fields[0], int(fields[3]), int(fields[19]))
