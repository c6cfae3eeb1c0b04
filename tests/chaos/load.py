"""32 callers over raw channels, without retries: every call's status is kept, nothing is hidden."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc

from tests.models import infer_request

CALLERS = 32
DEADLINE_SECONDS = 10.0
UNITS = 500
# a bound, should a test forget to end it
MOST_CALLS = 2_000_000


@dataclass
class Load:
    """What the callers saw so far. Written by one thread, read by another."""

    statuses: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    units: set[str] = field(default_factory=set)
    in_flight: int = 0

    @property
    def calls(self) -> int:
        return sum(self.statuses.values())

    @property
    def succeeded(self) -> int:
        return self.statuses["OK"]

    @property
    def failed(self) -> int:
        return self.calls - self.succeeded


@contextmanager
def load(address: str, model: str, prefix: str) -> Generator[Load]:
    """Callers run for the length of the block; afterwards every call has ended. Units are `<prefix>-<n>`."""
    seen, ending = Load(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_callers(address, model, prefix, seen, ending)))
    thread.start()
    try:
        yield seen
    finally:
        ending.set()
        thread.join()


async def _callers(address: str, model: str, prefix: str, seen: Load, ending: threading.Event) -> None:
    message = infer_request(model).SerializeToString()
    numbers = itertools.count()

    async def caller() -> None:
        # a connection of its own, as 32 clients would have
        options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            while not ending.is_set() and seen.calls < MOST_CALLS:
                unit = f"{prefix}-{next(numbers) % UNITS}"
                seen.in_flight += 1
                try:
                    await call(message, timeout=DEADLINE_SECONDS, metadata=[("x-penstock-routing-key", unit)])
                except grpc.aio.AioRpcError as error:
                    seen.statuses[error.code().name] += 1
                    seen.failures.append(f"{error.code().name}: {error.details()}")
                else:
                    seen.statuses["OK"] += 1
                    seen.units.add(unit)
                finally:
                    seen.in_flight -= 1

    await asyncio.gather(*(caller() for _ in range(CALLERS)))
