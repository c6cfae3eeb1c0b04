"""The file of the last policy: every resource that this Envoy has acknowledged, whatever its type."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from deploy.envoy.keeper import metrics

log = logging.getLogger(__name__)

SCHEMA = """
CREATE TABLE IF NOT EXISTS resource (
    type TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (type, name)
) WITHOUT ROWID
"""
PUT = "INSERT OR REPLACE INTO resource (type, name, version, body) VALUES (?, ?, ?, ?)"
DROP = "DELETE FROM resource WHERE type = ? AND name = ?"


@dataclass(frozen=True, slots=True)
class Kept:
    """One resource: `body` is the serialized envoy.service.discovery.v3.Resource, as routing sent it."""

    name: str
    version: str
    body: bytes


class Shelf:
    """SQLite, mode 0600: hashes of keys are in it. A change is whole on disk or not at all. One process writes it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open(path)
        except sqlite3.DatabaseError as error:
            metrics.LOST.inc()
            log.error("%s cannot be read, keeping begins anew: %s", path, error)  # noqa: TRY400  the trace says no more
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._open(path)

    def _open(self, path: Path) -> None:
        # SQLite gives the files beside it the mode of this one
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)
        self._database = sqlite3.connect(path)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(SCHEMA)
        rows = self._database.execute("SELECT type, name, version FROM resource")
        self._versions: dict[str, dict[str, str]] = {}
        for type_url, name, version in rows:
            self._versions.setdefault(type_url, {})[name] = version
        self._tell()

    @property
    def empty(self) -> bool:
        return not any(self._versions.values())

    def versions(self, type_url: str) -> Mapping[str, str]:
        """By name."""
        return self._versions.get(type_url, {})

    def read(self, type_url: str, names: Iterable[str]) -> Iterator[Kept]:
        """Those of the names that are there."""
        for name in names:
            query = "SELECT name, version, body FROM resource WHERE type = ? AND name = ?"
            row = self._database.execute(query, (type_url, name)).fetchone()
            if row is not None:
                yield Kept(*row)

    def change(self, type_url: str, put: Iterable[Kept], drop: Iterable[str]) -> None:
        """In one step. Raises sqlite3.Error."""
        put, drop = tuple(put), tuple(drop)
        with self._database:
            self._database.executemany(DROP, [(type_url, name) for name in drop])
            self._database.executemany(PUT, [(type_url, each.name, each.version, each.body) for each in put])
        versions = self._versions.setdefault(type_url, {})
        for name in drop:
            versions.pop(name, None)
        versions.update({each.name: each.version for each in put})
        self._tell()

    def retain(self, held: Mapping[str, AbstractSet[str]]) -> None:
        """Of each type that is named, drop all but these names. In one step. Raises sqlite3.Error."""
        surplus = [(url, name) for url, names in held.items() for name in self.versions(url).keys() - names]
        with self._database:
            self._database.executemany(DROP, surplus)
        for url, name in surplus:
            del self._versions[url][name]
        self._tell()

    def close(self) -> None:
        self._database.close()

    def _tell(self) -> None:
        metrics.KEPT.set(sum(map(len, self._versions.values())))
