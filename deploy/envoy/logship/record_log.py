"""The files of one Envoy's record log: the one it writes, and those that were set aside, oldest first."""

from __future__ import annotations

import hashlib
import os
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.envoy.logship.lines import Chunk, read

CHUNK_BYTES = 1 << 20
"""About 5000 lines; also what is taken for one line where none ends."""
HEAD_BYTES = 4096
TAIL_BYTES = 256
SETTLE_SECONDS = 2.0
"""Envoy flushes every 0.1 s: a file set aside that has been still for so long stays so."""
CHUNKS_KEPT = 4


class Gone(Exception):
    """The file is no more, or another one bears its name."""


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file as it was when it was looked at.

    `identity` outlives renaming and restarts: inode and first line, which holds a request id and a time in ns.
    `finished` says that nobody will write to it any more. Sizes in bytes.
    """

    path: Path
    inode: int
    identity: str
    size: int
    finished: bool


class RecordLog:
    """Reads only; belongs to one event loop, and never waits within a call."""

    def __init__(
        self, path: Path, *, settle_seconds: float = SETTLE_SECONDS, now: Callable[[], float] = time.time
    ) -> None:
        self.path = path
        self._settle_seconds = settle_seconds
        self._now = now
        self._identities: dict[tuple[object, ...], str] = {}
        # sinks that are equally far read the same chunk: it is parsed once
        self._chunks: OrderedDict[tuple[str, int], Chunk] = OrderedDict()

    def set_aside(self) -> Sequence[Path]:
        """Files `<path>.<number>`, oldest first."""
        folder = self.path.parent
        numbered = [(self.number(path), path) for path in (folder.iterdir() if folder.exists() else ())]
        return [path for number, path in sorted(numbered) if number]

    def number(self, path: Path) -> int:
        """1 and more of a file that was set aside, 0 of any other."""
        name, _, suffix = path.name.rpartition(".")
        return int(suffix) if name == self.path.name and suffix.isascii() and suffix.isdecimal() else 0

    def files(self) -> list[LogFile]:
        """Those that have a first line, oldest first."""
        paths = [*self.set_aside(), self.path]
        written = self.path.exists()
        looks = [self._look(path, may_be_finished=written and path != self.path) for path in paths]
        self._identities = {key: file.identity for key, file in looks if file}
        return [file for _, file in looks if file]

    def again(self, file: LogFile) -> LogFile:
        """The file as it is now, whatever its name. Raises Gone."""
        for found in self.files():
            if found.identity == file.identity:
                return found
        raise Gone(f"{file.path} is gone")

    def read(self, file: LogFile, start: int) -> Chunk | None:
        """Whole lines from this offset on, at most 1 MiB; None where there is none yet. Raises Gone."""
        known = self._chunks.get((file.identity, start))
        if known is not None:
            return known
        data = self._bytes(file, start, CHUNK_BYTES)
        at_end = file.finished and start + len(data) >= file.size
        endless = len(data) == CHUNK_BYTES and b"\n" not in data
        chunk = read(data, start, to_the_end=at_end or endless)
        if chunk is not None:
            self._chunks[file.identity, start] = chunk
            if len(self._chunks) > CHUNKS_KEPT:
                self._chunks.popitem(last=False)
        return chunk

    def forget_chunks(self) -> None:
        """When a file turns out to have other content than it had."""
        self._chunks.clear()

    def mark(self, file: LogFile, offset: int) -> int | None:
        """A checksum of what stands just before this offset; None if no line can begin there. Raises Gone."""
        start = max(0, offset - TAIL_BYTES)
        tail = self._bytes(file, start, offset - start)
        whole = len(tail) == offset - start
        at_line = not tail or tail.endswith(b"\n") or b"\n" not in tail or (file.finished and offset == file.size)
        return zlib.crc32(tail) if whole and at_line else None

    def _bytes(self, file: LogFile, start: int, count: int) -> bytes:
        try:
            with file.path.open("rb") as opened:
                if os.fstat(opened.fileno()).st_ino != file.inode:
                    raise Gone(f"{file.path} is another file now")
                opened.seek(start)
                return opened.read(count)
        except FileNotFoundError as error:
            raise Gone(f"{file.path} is gone") from error

    def _look(self, path: Path, *, may_be_finished: bool) -> tuple[tuple[object, ...], LogFile | None]:
        try:
            status = path.stat()
        except FileNotFoundError:
            return (), None
        # An inode is used again as soon as its file is deleted: only what has not changed at all is not read again
        key = (path, status.st_ino, status.st_size, status.st_mtime_ns)
        finished = may_be_finished and self._now() - status.st_mtime >= self._settle_seconds
        file = LogFile(path, status.st_ino, self._identities.get(key, ""), status.st_size, finished)
        identity = file.identity or self._identify(file)
        return key, replace(file, identity=identity) if identity else None

    def _identify(self, file: LogFile) -> str:
        try:
            head = self._bytes(file, 0, HEAD_BYTES)
        except Gone:
            return ""
        first, end, _ = head.lstrip(b"\n").partition(b"\n")
        if not (end or len(head) == HEAD_BYTES or (file.finished and head)):
            return ""
        return f"{file.inode:x}-{hashlib.sha256(first).hexdigest()[:16]}"
