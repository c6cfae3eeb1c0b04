"""What the supervisor last knew, in a file that `status`, tests and the next `up` read."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from deploy.local.places import Places
from deploy.local.processes import Identity


@dataclass(frozen=True)
class PartRecord:
    """One part as the supervisor sees it.

    Attributes:
        process: None while it does not run.
        ready: whether its last readiness probe succeeded.
        restarts: starts after the first.
        failures: times that it ended since it was last ready.
        since: when it last became ready or ceased to be, Unix seconds.
        problem: why it is not ready; empty when it is.
        held: kept down on request.
        ports: number by name.
    """

    process: Identity | None = None
    ready: bool = False
    restarts: int = 0
    failures: int = 0
    since: float = 0.0
    problem: str = "not started"
    held: bool = False
    ports: dict[str, int] = field(default_factory=dict[str, int])

    def serves(self) -> bool:
        """Ready, and not dead since the supervisor last looked."""
        return self.ready and self.process is not None and self.process.alive()


@dataclass(frozen=True)
class Record:
    """The whole stack."""

    supervisor: Identity
    parts: dict[str, PartRecord]
    stopping: bool = False

    def with_part(self, name: str, part: PartRecord) -> Record:
        return replace(self, parts={**self.parts, name: part})

    def serves(self) -> bool:
        """Whether every part does."""
        return bool(self.parts) and all(part.serves() for part in self.parts.values())

    def alive(self) -> bool:
        """Whether the supervisor that wrote this still runs."""
        return self.supervisor.alive()


def path(places: Places) -> Path:
    return places.home / "state"


def write(places: Places, record: Record) -> None:
    fresh = path(places).with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(asdict(record), indent=1))
    fresh.replace(path(places))


def read(places: Places) -> Record | None:
    """None when nothing ran here yet. A file that cannot be read counts as none: it is replaced whole, never torn."""
    try:
        raw = json.loads(path(places).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    parts = {name: _part(part) for name, part in raw["parts"].items()}
    return Record(Identity(**raw["supervisor"]), parts, raw["stopping"])


def remove(places: Places) -> None:
    path(places).unlink(missing_ok=True)


def held(places: Places) -> frozenset[str]:
    """Parts that are to stay down until released."""
    return frozenset(mark.name for mark in _marks(places).glob("*")) if _marks(places).exists() else frozenset()


def hold(places: Places, part: str) -> None:
    _marks(places).mkdir(exist_ok=True)
    (_marks(places) / part).touch()


def release(places: Places, part: str) -> None:
    (_marks(places) / part).unlink(missing_ok=True)


def _marks(places: Places) -> Path:
    return places.home / "held"


def _part(raw: dict[str, Any]) -> PartRecord:
    process = raw.pop("process")
    return PartRecord(process=None if process is None else Identity(**process), **raw)
