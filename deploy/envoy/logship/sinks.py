"""Who takes the records: two services through the mesh, and a file for what is no record."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc

from deploy.envoy.logship import metrics
from deploy.envoy.logship.lines import Chunk
from penstock.accesslog.v1.record_pb2 import RecordBatch
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as cost_tracking
from penstock.cost_tracking.v1.cost_tracking_service_pb2_grpc import CostTrackingServiceStub
from penstock.experimentation.v1 import experimentation_service_pb2 as experimentation
from penstock.experimentation.v1.experimentation_service_pb2_grpc import ExperimentationServiceStub

DEADLINE_SECONDS = 30.0
LONGEST_KEPT = 1 << 16
"""Of an unreadable line, so many bytes are kept."""


class Undelivered(Exception):
    """Nobody knows whether the lines were taken: deliver them again."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """Lines of a file under the names that sinks know."""

    proxy: str
    file: str
    chunk: Chunk


class Sink(Protocol):
    @property
    def name(self) -> str: ...

    async def deliver(self, parcel: Parcel) -> int:
        """Returns once the lines are safe: one past the last byte of the file that is. Raises Undelivered."""
        ...


class Service:
    """A service that has DeliverRecords. Envoy owns retries; what fails in spite of them is delivered again later."""

    def __init__(self, name: str, send: Callable[[RecordBatch], Awaitable[int]]) -> None:
        self.name = name
        self._send = send

    async def deliver(self, parcel: Parcel) -> int:
        batch = RecordBatch(
            proxy=parcel.proxy,
            file=parcel.file,
            start_offset=parcel.chunk.start,
            end_offset=parcel.chunk.end,
            records=parcel.chunk.records,
            unreadable=len(parcel.chunk.unreadable),
        )
        try:
            return await self._send(batch)
        except grpc.aio.AioRpcError as error:
            raise Undelivered(f"{error.code().name} {error.details()}") from error


def services(mesh: grpc.aio.Channel) -> tuple[Service, ...]:
    costs, experiments = CostTrackingServiceStub(mesh), ExperimentationServiceStub(mesh)

    async def to_cost_tracking(batch: RecordBatch) -> int:
        request = cost_tracking.DeliverRecordsRequest(batch=batch)
        return (await costs.DeliverRecords(request, timeout=DEADLINE_SECONDS)).committed_offset

    async def to_experimentation(batch: RecordBatch) -> int:
        request = experimentation.DeliverRecordsRequest(batch=batch)
        return (await experiments.DeliverRecords(request, timeout=DEADLINE_SECONDS)).committed_offset

    return Service("cost_tracking", to_cost_tracking), Service("experimentation", to_experimentation)


class UnreadableLines:
    """Keeps lines that are no records in a file of JSON lines, for people. After a crash one may stand there twice."""

    name = "unreadable"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def deliver(self, parcel: Parcel) -> int:
        if parcel.chunk.unreadable:
            lines = [
                {"file": parcel.file, "offset": found.offset, "bytes": len(found.line), "line": _text(found.line)}
                for found in parcel.chunk.unreadable
            ]
            try:
                await asyncio.to_thread(self._append, map(json.dumps, lines))
            except OSError as error:
                raise Undelivered(str(error)) from error
            metrics.UNREADABLE.inc(len(lines))
        return parcel.chunk.end

    def _append(self, lines: Iterable[str]) -> None:
        with self._path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())


def _text(line: bytes) -> str:
    return line[:LONGEST_KEPT].decode(errors="backslashreplace")
