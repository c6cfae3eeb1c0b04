"""Readiness: each probe talks to the real server and raises NotReady with the reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Probe = Callable[[], Awaitable[None]]
DEADLINE_SECONDS = 2.0
# a part that is starting is looked for at once, not after gRPC's growing pauses
RECONNECT = (("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500))


class NotReady(Exception):
    """Why a part does not answer yet."""


def postgres(dsn: str, database: str) -> Probe:
    """Ready once it accepts a connection and `database` exists; creates that where it is missing."""

    async def probe() -> None:
        try:
            connection = await asyncpg.connect(dsn, timeout=DEADLINE_SECONDS)
        except (OSError, asyncpg.PostgresError, TimeoutError) as fault:
            raise NotReady(str(fault) or type(fault).__name__) from fault
        try:
            if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
                await connection.execute(f'CREATE DATABASE "{database}"')
        except asyncpg.DuplicateDatabaseError:
            pass
        finally:
            await connection.close(timeout=DEADLINE_SECONDS)

    return probe


def redis(port: int) -> Probe:
    async def probe() -> None:
        answer = await _exchange(port, b"PING\r\nQUIT\r\n")
        if not answer.startswith(b"+PONG"):
            raise NotReady(answer.decode(errors="replace").strip())

    return probe


def http(port: int, path: str) -> Probe:
    async def probe() -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        status = (await _exchange(port, request.encode())).decode(errors="replace").split("\r\n")[0]
        if status.split(" ")[1:2] != ["200"]:
            raise NotReady(f"GET {path}: {status}")

    return probe


def grpc_health(port: int) -> Probe:
    stubs: list[Any] = []

    async def probe() -> None:
        if not stubs:  # a channel belongs to the event loop in which it is first used
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=RECONNECT)
            stubs.append(health_pb2_grpc.HealthStub(channel))
        try:
            answer = await stubs[0].Check(health_pb2.HealthCheckRequest(), timeout=DEADLINE_SECONDS)
        except grpc.aio.AioRpcError as fault:
            raise NotReady(f"{fault.code().name}: {fault.details()}") from fault
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise NotReady(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    return probe


async def _exchange(port: int, request: bytes) -> bytes:
    """The whole answer. The server closes: a port of ours that waits out a closed connection might be one it needs."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(request)
                await writer.drain()
                return await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError) as fault:
        raise NotReady(str(fault) or "no answer in time") from fault
