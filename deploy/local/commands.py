"""up, down, status, logs: what the command line calls. Nothing here prints, except that `logs` writes lines."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from deploy.local import parts
from deploy.local.places import Places, UnusableDirectory, default_home
from deploy.local.ports import BadPort, PortInUse, Ports
from deploy.local.record import PartRecord
from deploy.local.stack import Stack, StackFailed
from deploy.triton.backend import NoSharedPython

FOLLOW_EVERY_SECONDS = 0.2


class NoSuchLines(Exception):
    """Fewer than no lines."""


# what a caller of these functions shows as it is: each message says what is wrong and what to do
FAULTS = (
    BadPort,
    PortInUse,
    parts.UnknownPart,
    NoSuchLines,
    UnusableDirectory,
    NoSharedPython,
    StackFailed,
    FileNotFoundError,
)
NEVER_STARTED = PartRecord(problem="not running")


def the_stack() -> Stack:
    """The stack of this checkout, as the environment sets it: all that `Stack` can do. Raises one of FAULTS."""
    return Stack(Places.of(default_home()), Ports.from_environment(os.environ))


def up() -> bool:
    """Start the stack and wait until all of it is ready; False when it was up already.

    Raises one of FAULTS.
    """
    return the_stack().start()


def down() -> bool:
    """Stop it, services first; False when nothing ran."""
    return the_stack().stop()


def status() -> dict[str, PartRecord]:
    """Every part by name, in the order of starting."""
    known = the_stack().record()
    return {name: (known.parts.get(name, NEVER_STARTED) if known else NEVER_STARTED) for name in parts.ALL}


def logs(part: str, *, follow: bool = False, lines: int = 100, out: TextIO | None = None) -> None:
    """Write the last lines of a part's log (or `supervisor`'s); with `follow`, what is added until interrupted.

    Raises UnknownPart, NoSuchLines.
    """
    if lines < 0:
        raise NoSuchLines(f"{lines} lines cannot be shown: name 0 or more")
    if part not in (*parts.ALL, "supervisor"):
        raise parts.UnknownPart(f"no such part: {part}. Parts: {', '.join(parts.ALL)}, supervisor")
    sink = out or sys.stdout
    log = the_stack().places.log(part)
    log.touch()
    with log.open(errors="replace") as file:
        sink.writelines(deque(file, maxlen=lines))
        sink.flush()
        while follow:
            fresh = file.read()
            if fresh:
                sink.write(fresh)
                sink.flush()
            elif _replaced(log, file):
                return logs(part, follow=True, lines=lines, out=sink)
            else:
                time.sleep(FOLLOW_EVERY_SECONDS)
    return None


def _replaced(log: Path, file: TextIO) -> bool:
    """Whether the next start rotated the log away under us."""
    return log.exists() and log.stat().st_ino != os.fstat(file.fileno()).st_ino
