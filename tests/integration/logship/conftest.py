"""Sinks that are real gRPC services, whose deaths a test decides, and the companion as a process of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as cost_tracking
from penstock.cost_tracking.v1 import cost_tracking_service_pb2_grpc as cost_tracking_rpc
from penstock.experimentation.v1 import experimentation_service_pb2 as experimentation
from penstock.experimentation.v1 import experimentation_service_pb2_grpc as experimentation_rpc

MESSAGE_BYTES = 64 << 20


class Books:
    """Takes what follows what it has, as the services do. `seen` counts how often each request was taken."""

    def __init__(self) -> None:
        self.committed: Counter[tuple[str, str]] = Counter()
        self.seen: Counter[str] = Counter()
        self.unreadable = 0
        self.calls = 0
        self.fails = False
        self.hangs = False
        self.forgets_to_answer = False

    async def take(self, batch, context) -> int:
        self.calls += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        key = batch.proxy, batch.file
        if self.committed[key] == batch.start_offset:
            self.committed[key] = batch.end_offset
            self.seen.update(record.request_id for record in batch.records)
            self.unreadable += batch.unreadable
        if self.forgets_to_answer:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer is lost")
        return self.committed[key]


class CostTracking(cost_tracking_rpc.CostTrackingServiceServicer):
    def __init__(self, books: Books) -> None:
        self._books = books

    async def DeliverRecords(self, request, context):
        committed = await self._books.take(request.batch, context)
        return cost_tracking.DeliverRecordsResponse(committed_offset=committed)


class Experimentation(experimentation_rpc.ExperimentationServiceServicer):
    def __init__(self, books: Books) -> None:
        self._books = books

    async def DeliverRecords(self, request, context):
        committed = await self._books.take(request.batch, context)
        return experimentation.DeliverRecordsResponse(committed_offset=committed)


class Sinks:
    """Both services in one server, which can be stopped and come back with its books."""

    def __init__(self) -> None:
        self.costs, self.exposures = Books(), Books()
        self.addresses = [free_address()]
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", MESSAGE_BYTES)])
        cost_tracking_rpc.add_CostTrackingServiceServicer_to_server(CostTracking(self.costs), self._server)
        experimentation_rpc.add_ExperimentationServiceServicer_to_server(Experimentation(self.exposures), self._server)
        for address in self.addresses:
            self._server.add_insecure_port(address)
        await self._server.start()

    async def stop(self) -> None:
        if self._server:
            await self._server.stop(0)

    def have(self, requests: Iterable[str]) -> bool:
        """These requests, whatever else, are in both books."""
        wanted = set(requests)
        return wanted <= set(self.costs.seen) and wanted <= set(self.exposures.seen)

    def all_have(self, requests: int) -> bool:
        """So many requests, each once, are in both books. More than once is a failure, not a matter of waiting."""
        for books in (self.costs, self.exposures):
            twice = [request for request, times in books.seen.items() if times > 1]
            if twice:
                pytest.fail(f"taken twice: {twice[:5]}")
        return len(self.costs.seen) == len(self.exposures.seen) == requests


@pytest.fixture
async def sinks():
    both = Sinks()
    await both.start()
    yield both
    await both.stop()


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Companion:
    """`start` it as often as it dies."""

    def __init__(self, folder: Path, mesh: str, **settings: str) -> None:
        self.log = folder / "records.log"
        self.state = folder / "state"
        self.metrics = free_address()
        self._variables = {
            **os.environ,
            "PENSTOCK_ACCESS_LOG": str(self.log),
            "PENSTOCK_STATE_DIR": str(self.state),
            "PENSTOCK_MESH_ADDRESS": mesh,
            "PENSTOCK_ENVOY_ADMIN": "127.0.0.1:1",
            "PENSTOCK_METRICS_PORT": self.metrics.rpartition(":")[2],
            **settings,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen([sys.executable, "-m", "deploy.envoy.logship"], env=self._variables)
        return self.process

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()


@contextmanager
def companion(folder: Path, mesh: str, **settings: str):
    one = Companion(folder, mesh, **settings)
    try:
        yield one
    finally:
        one.kill()
