"""The file of the last policy: every resource that this Envoy has acknowledged, whatever its type."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Mapping
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
        self._path = path
        self._sound = True
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            metrics.LOST.inc()
            log.error("%s cannot be read, keeping begins anew: %s", path, error)  # noqa: TRY400  the trace says no more
            self._remove()
            self._open()

    def _open(self) -> None:
        # SQLite gives the files beside it the mode of this one
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        self._path.chmod(0o600)
        self._database = sqlite3.connect(self._path)
        self._database.execute("PRAGMA journal_mode = WAL")
        # with less, a machine that loses its power may give a revoked key back
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(SCHEMA)
        rows = self._database.execute("SELECT type, name, version FROM resource")
        self._versions: dict[str, dict[str, str]] = {}
        for type_url, name, version in rows:
            self._versions.setdefault(type_url, {})[name] = version
        self._tell()

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    @property
    def sound(self) -> bool:
        """Whether what is kept is what Envoy has acknowledged; if not, nothing is kept until it has `begun_anew`."""
        return self._sound

    def begun_anew(self) -> bool:
        """Whether there is a file to write to again: an empty one."""
        try:
            self._remove()
            self._open()
        except (sqlite3.Error, OSError):
            return False
        self._sound = True
        return True

    @contextlib.contextmanager
    def _writing(self) -> Generator[sqlite3.Connection]:
        """One transaction. If it fails the file goes: a key that is revoked since may be good in it."""
        try:
            with self._database:
                yield self._database
        except sqlite3.Error:
            self._give_up()
            raise

    def _give_up(self) -> None:
        self._sound = False
        self._versions.clear()
        self._tell()
        try:
            self._remove()
        except OSError as error:
            log.error("%s is out of date and cannot be removed: %s", self._path, error)  # noqa: TRY400  the trace says no more
        else:
            log.error("nothing is kept: an Envoy that starts while no routing answers will serve nobody")
        self._database.close()

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
        """In one step. Raises sqlite3.Error: then nothing is kept any more."""
        put, drop = tuple(put), tuple(drop)
        with self._writing() as database:
            database.executemany(DROP, [(type_url, name) for name in drop])
            database.executemany(PUT, [(type_url, each.name, each.version, each.body) for each in put])
        versions = self._versions.setdefault(type_url, {})
        for name in drop:
            versions.pop(name, None)
        versions.update({each.name: each.version for each in put})
        self._tell()

    def retain(self, held: Mapping[str, AbstractSet[str]]) -> None:
        """Of each type that is named, drop all but these names. In one step. Raises sqlite3.Error, as `change` does."""
        surplus = [(url, name) for url, names in held.items() for name in self.versions(url).keys() - names]
        with self._writing() as database:
            database.executemany(DROP, surplus)
        for url, name in surplus:
            del self._versions[url][name]
        self._tell()

    def close(self) -> None:
        self._database.close()

    def _tell(self) -> None:
        metrics.KEPT.set(sum(map(len, self._versions.values())))
