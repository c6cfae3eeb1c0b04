"""How far one sink has taken each file, kept on disk: whole or as it was before, whenever the power goes."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """One past the last byte that was taken, and a checksum of what stood before it.

    `generation` grows when the file turns out to have been rewritten: under the next name it is delivered anew.
    """

    offset: int = 0
    mark: int = 0
    generation: int = 0

    def name(self, identity: str) -> str:
        """What a sink calls the file."""
        return f"{identity}~{self.generation}" if self.generation else identity


class Places:
    """Of one sink, by the identity of the file. Losing them loses nothing: sinks know what they have."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places: Mapping[str, Place] = _load(path)

    def of(self, identity: str) -> Place:
        return self._places.get(identity, Place())

    def save(self, identity: str, place: Place, known: frozenset[str]) -> None:
        """Whole on disk on return. Files that are not `known` any more are forgotten."""
        kept = {name: old for name, old in self._places.items() if name in known}
        places = {**kept, identity: place}
        fresh = self._path.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump({name: asdict(old) for name, old in places.items()}, file)
            file.flush()
            os.fsync(file.fileno())
        # the folder is not synced: whoever finds the old name after a power cut goes back a little
        fresh.replace(self._path)
        self._places = places


def _load(path: Path) -> Mapping[str, Place]:
    try:
        return {name: Place(**place) for name, place in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read, so everything that is still there is delivered again: %s", path, error)
        return {}
