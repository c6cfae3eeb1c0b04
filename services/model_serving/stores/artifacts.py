"""Uploaded files, by the SHA-256 of their content: `<folder>/<first two digits>/<digest>.onnx`.

A file appears whole, by a rename, or not at all.
"""

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterable
from datetime import datetime
from pathlib import Path
from typing import IO

from libs.errors import Invalid, NotFound, Violation
from services.model_serving.domain.signature import Signature
from services.model_serving.stores import onnx_file

LARGEST_CHUNK = 1024 * 1024
LARGEST_FILE = 2 * 1024 * 1024 * 1024
PARTIAL = ".partial-"
# an upload into which nothing was written for so long has no writer any more
ABANDONED_SECONDS = 3600.0


class ArtifactFolder:
    """A folder that every replica sees."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def write(self, chunks: AsyncIterable[bytes]) -> tuple[str, int]:
        """Digest and size of the stored file. Nothing is left of chunks that break off, or that are no ONNX file."""
        async with self._partial() as partial:
            digest, size = await _receive(chunks, partial)
            await onnx_file.signature(Path(partial.name))
            await asyncio.to_thread(_keep, Path(partial.name), self._path(digest))
        return digest, size

    async def signature(self, digest: str) -> Signature:
        """The tensors of a stored file, with their whole shapes. Raises NotFound."""
        path = self._path(digest)
        if not path.exists():
            raise NotFound("ARTIFACT_NOT_FOUND", f"no file with digest {digest} was uploaded", digest=digest)
        return await onnx_file.signature(path)

    def size(self, digest: str) -> int:
        try:
            return self._path(digest).stat().st_size
        except OSError as error:
            raise LookupError(digest) from error

    def read(self, digest: str) -> bytes:
        try:
            return self._path(digest).read_bytes()
        except OSError as error:
            raise LookupError(digest) from error

    def sweep(self, now: datetime) -> None:
        """Remove what uploads left behind when their process was killed."""
        for left in self._folder.glob(f"{PARTIAL}*"):
            with contextlib.suppress(FileNotFoundError):
                if left.stat().st_mtime < now.timestamp() - ABANDONED_SECONDS:
                    left.unlink()

    def _path(self, digest: str) -> Path:
        return self._folder / digest[:2] / f"{digest}.onnx"

    @contextlib.asynccontextmanager
    async def _partial(self) -> AsyncGenerator[IO[bytes]]:
        # in this thread: an empty file is made at once, and a caller who goes meanwhile would leave it behind
        partial = self._begin()
        try:
            yield partial
        finally:
            await asyncio.to_thread(_end, partial)

    def _begin(self) -> IO[bytes]:
        self._folder.mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=self._folder, prefix=PARTIAL, delete=False)


async def _receive(chunks: AsyncIterable[bytes], partial: IO[bytes]) -> tuple[str, int]:
    digest, size, held = hashlib.sha256(), 0, bytearray()

    def write() -> None:
        digest.update(held)
        partial.write(held)
        held.clear()

    # disks may take their time, and other callers wait for this loop
    async for chunk in chunks:
        size += len(chunk)
        if len(chunk) > LARGEST_CHUNK:
            raise Invalid([Violation("chunk", f"larger than {LARGEST_CHUNK} bytes")])
        if size > LARGEST_FILE:
            raise Invalid([Violation("chunk", f"the file is larger than {LARGEST_FILE} bytes")])
        held += chunk
        if len(held) >= LARGEST_CHUNK:
            await asyncio.to_thread(write)
    await asyncio.to_thread(write)
    await asyncio.to_thread(_sync, partial)
    return digest.hexdigest(), size


def _sync(partial: IO[bytes]) -> None:
    partial.flush()
    os.fsync(partial.fileno())


def _end(partial: IO[bytes]) -> None:
    """A write that is under way, for a caller who has gone, ends first: the file has a lock of its own."""
    partial.close()
    Path(partial.name).unlink(missing_ok=True)


def _keep(partial: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    partial.replace(target)
    # a rename lasts only once its folder is on disk
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
