"""grpc.health.v1: SERVING only while every named component is up.

The stock aio servicer awaits a write while it holds the lock that updates need, so one stalled watcher stalls them all,
shutdown included. Here each watcher reads the newest state in its own time.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Status = health_pb2.HealthCheckResponse.ServingStatus


class HealthServicer(health_pb2_grpc.HealthServicer):
    """One state for the whole process, under the empty name and the name of each of its services."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self._serving = False
        self._changed = asyncio.Event()

    def set_serving(self, serving: bool) -> None:
        if serving != self._serving:
            self._serving = serving
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()

    def _status(self) -> health_pb2.HealthCheckResponse:
        serving = health_pb2.HealthCheckResponse.SERVING
        return health_pb2.HealthCheckResponse(
            status=serving if self._serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )

    async def Check(  # noqa: N802  protobuf's name
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service here")
        return self._status()

    async def Watch(  # noqa: N802  protobuf's name
        self,
        request: health_pb2.HealthCheckRequest,
        context: Any,  # noqa: ARG002  gRPC gives it
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        if request.service not in self._services:
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            await asyncio.Event().wait()
        while True:
            changed = self._changed
            yield self._status()
            await changed.wait()
