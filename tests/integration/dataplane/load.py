"""Callers that never retry and count what they were answered."""

from __future__ import annotations

import collections
import contextlib
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field

from tritonclient.grpc import service_pb2 as pb

from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane
from tests.polling import eventually


@dataclass
class Load:
    """`calls` are (start, code) in the order in which they ended."""

    stopped: threading.Event = field(default_factory=threading.Event)
    calls: list[tuple[float, str, str]] = field(default_factory=list)

    def codes(self) -> dict[str, int]:
        return dict(collections.Counter(f"{code} {text}".strip() for _, code, text in self.calls))

    def wait_for(self, calls: int) -> None:
        """Until so many more have been answered."""
        target = len(self.calls) + calls
        eventually(lambda: len(self.calls) >= target, within=60)


@contextlib.contextmanager
def under_load(plane: DataPlane, callers: int = 32, message: pb.ModelInferRequest | None = None) -> Generator[Load]:
    """Callers with channels of their own, for the length of the block."""
    load = Load()

    def run() -> None:
        with plane.channel() as channel:
            while not load.stopped.is_set():
                started = time.time()
                answer = models.call(channel, message)
                load.calls.append((started, answer.code, answer.text))

    threads = [threading.Thread(target=run) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join()
