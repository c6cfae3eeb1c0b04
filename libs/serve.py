"""The one way in which a service runs: health, reflection, interceptors, background work, graceful drain."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs import telemetry
from libs.channels import MESSAGE_BYTES
from libs.health import HealthServicer
from libs.interceptors import interceptors
from libs.reflection import add_reflection

log = logging.getLogger(__name__)

CHECK_SECONDS = 0.25
CANCEL_AGAIN_SECONDS = 1.0
OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)


@dataclass(frozen=True)
class Address:
    """Where a service listens and how it leaves."""

    listen: str
    """host:port of its gRPC services."""
    metrics_port: int
    """Port of /metrics on loopback; 0 exposes none."""
    drain_seconds: float = 1.0
    """NOT_SERVING for so long before calls are refused, so that whoever checks health has noticed."""
    grace_seconds: float = 5.0
    """Calls in flight may take so long to end."""


@dataclass(frozen=True)
class App:
    """What a composition root hands over."""

    services: Sequence[str]
    """Full protobuf names, for reflection and health."""
    register: Callable[[grpc.aio.Server], None]
    """Adds every servicer."""
    reflected: Sequence[str] = ()
    """Names that reflection tells besides: served elsewhere, public through the same door."""
    background: Sequence[Coroutine[Any, Any, None]] = ()
    """Work that lasts as long as the service; if any ends in an error, the process ends."""
    components: Mapping[str, Callable[[], bool]] | None = None
    """SERVING only while each of these says True."""
    close: Sequence[Callable[[], Awaitable[Any]]] = ()
    """Called last, in order."""


def run(name: str, address: Address, build: Callable[[], Awaitable[App]]) -> None:
    """Build the app inside the event loop and serve until SIGTERM or SIGINT."""
    telemetry.set_up(name, address.metrics_port)
    uvloop.run(_run(name, address, build))


async def _run(name: str, address: Address, build: Callable[[], Awaitable[App]]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = await build()
    health = HealthServicer(app.services)
    server = grpc.aio.server(interceptors=interceptors(), options=OPTIONS)
    app.register(server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    add_reflection((*app.services, *app.reflected, health_name), server)
    server.add_insecure_port(address.listen)
    await server.start()
    log.info("%s listens on %s", name, address.listen)
    log.info("whoever reaches %s past the edge is who its x-penstock-* headers say", address.listen)
    background = [asyncio.create_task(work) for work in app.background]
    checks = asyncio.create_task(_keep_health(health, app.components or {}))
    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait([stopping, checks, *background], return_when=asyncio.FIRST_COMPLETED)
        for task in done - {stopping}:
            task.result()
            raise RuntimeError(f"{name}: background work {task.get_name()} ended by itself")
    finally:
        checks.cancel()
        health.set_serving(False)
        if stop.is_set():
            await asyncio.sleep(address.drain_seconds)
        await server.stop(address.grace_seconds)
        await ended([checks, stopping, *background])
        for close in app.close:
            await close()
        log.info("%s has stopped", name)


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and return once all have ended.

    Asked again every second: a driver that turns a cancellation into an error of its own would let its task go on.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)


async def _keep_health(health: HealthServicer, components: Mapping[str, Callable[[], bool]]) -> None:
    down: set[str] = set()
    while True:
        now_down = {name for name, up in components.items() if not up()}
        for name in sorted(now_down ^ down):
            log.warning("%s is %s", name, "down" if name in now_down else "up")
        down = now_down
        health.set_serving(not down)
        await asyncio.sleep(CHECK_SECONDS)
