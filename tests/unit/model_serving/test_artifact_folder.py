"""Uploaded files on a real disk, and what the event loop has to do with it."""

import asyncio
import hashlib
import os
import sys
import threading

import pytest

from libs.errors import Invalid
from services.model_serving.stores.artifacts import LARGEST_CHUNK, ArtifactFolder
from tests.models import shift

DISK = {"os.rename", "os.remove"}
# an audit hook cannot be taken away again: it looks here, and at nothing when the test is over
watched: list[tuple[str, str]] = []
watching: set[str] = set()


def hook(event, arguments):
    if event in DISK and any(str(folder) in str(arguments[0]) for folder in watching):
        watched.append((event, threading.current_thread().name))


sys.addaudithook(hook)


async def cut(data, size):
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def test_a_file_is_what_was_sent_whatever_the_chunks(tmp_path):
    data = shift(1)
    for size in (1, 7, 1000, len(data)):
        assert await ArtifactFolder(tmp_path).write(cut(data, size)) == (hashlib.sha256(data).hexdigest(), len(data))
    assert ArtifactFolder(tmp_path).read(hashlib.sha256(data).hexdigest()) == data


async def test_the_event_loop_never_waits_for_the_disk(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def noted(descriptor):
        synced.append(threading.current_thread().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    watched.clear()
    watching.add(str(tmp_path))
    await ArtifactFolder(tmp_path / "new").write(cut(shift(1), 100))
    watching.clear()
    here = threading.current_thread().name
    assert len(synced) == 2
    assert here not in synced
    assert watched
    assert here not in {thread for _, thread in watched}


async def test_an_upload_whose_caller_goes_leaves_nothing(tmp_path):
    sending = asyncio.Event()

    async def endless():
        while True:
            yield b"x" * LARGEST_CHUNK
            sending.set()

    upload = asyncio.create_task(ArtifactFolder(tmp_path).write(endless()))
    await sending.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert list(tmp_path.iterdir()) == []


async def test_a_chunk_that_is_too_large_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(Invalid):
        await ArtifactFolder(tmp_path).write(cut(bytes(LARGEST_CHUNK + 1), LARGEST_CHUNK + 1))
    assert list(tmp_path.iterdir()) == []
