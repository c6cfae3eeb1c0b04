"""The data plane under test: real servers of a stack, and an ADS server in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import copyreg
import multiprocessing
import os
import threading
import urllib.request
from collections.abc import Collection, Generator
from dataclasses import dataclass, field
from multiprocessing.managers import BaseManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import pytest

from deploy.envoy.record import Record, parse
from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from libs.clock import SystemClock
from services.routing.domain.policy import Deployment, Inputs, Route, Server
from services.routing.domain.snapshot import Snapshot
from services.routing.xds.ads import Ads
from services.routing.xds.resources import compile_snapshot
from tests.integration.dataplane import models
from tests.polling import eventually

OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
LINGER_SECONDS = 0.5


class AdsHost:
    """The ADS server in a process of its own: grpc.aio does not bear two event loops in one, and tests have another."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._loop = asyncio.new_event_loop()
        self._ads: Ads | None = None
        self._server: grpc.aio.Server | None = None
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def serve(self) -> None:
        async def serve() -> None:
            self._ads = Ads(SystemClock(), linger_seconds=LINGER_SECONDS)
            self._server = grpc.aio.server()
            self._ads.register(self._server)
            assert self._server.add_insecure_port(self._address)
            await self._server.start()

        asyncio.run_coroutine_threadsafe(serve(), self._loop).result(10)

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._server.stop(0), self._loop).result(10)

    def publish(self, snapshot: Snapshot) -> None:
        self._loop.call_soon_threadsafe(self._ads.publish, snapshot)

    def acknowledged(self, node: str) -> str:
        """The revision; empty while there is none."""
        found = self._ads.acknowledged(node)
        return found[1].revision if found else ""

    def proxies(self) -> Any:
        return self._ads.proxies()


class _Processes(BaseManager): ...


def _read_only(mapping: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(mapping)


_Processes.register("AdsHost", AdsHost)
# a snapshot travels to the process with its read-only mappings
copyreg.pickle(MappingProxyType, lambda mapping: (_read_only, (dict(mapping),)))


@dataclass
class DataPlane:
    """Tests write the inputs; nothing of routing runs but its compiler and its ADS server."""

    stack: Stack
    manager: BaseManager = field(default_factory=lambda: _Processes(ctx=multiprocessing.get_context("spawn")))
    ads: Any = None

    def start(self) -> None:
        self.manager.start()
        self.ads = self.manager.AdsHost(self.stack.address("routing"))  # pyright: ignore[reportAttributeAccessIssue]  registered by name
        self.serve_ads()

    def stop(self) -> None:
        self.manager.shutdown()

    def serve_ads(self) -> None:
        """A new ADS server, which knows nothing yet."""
        self.ads.serve()

    def stop_ads(self) -> None:
        self.ads.stop()

    def publish(self, snapshot: Snapshot) -> None:
        self.ads.publish(snapshot)

    def apply(self, inputs: Inputs, *, authentication: bool = False, origins: tuple[str, ...] = ()) -> Snapshot:
        """Publish what they compile to and wait until Envoy has acknowledged all of it."""
        snapshot = compile_snapshot(inputs, authentication=authentication, origins=origins)
        self.publish(snapshot)
        eventually(lambda: self.acknowledged() == snapshot.revision, within=20, message="Envoy did not acknowledge")
        return snapshot

    def acknowledged(self, node: str = "envoy") -> str:
        return self.ads.acknowledged(node)

    def channel(self, listener: str = "ingress") -> grpc.Channel:
        return grpc.insecure_channel(self.stack.address(listener), OPTIONS)

    def records(self) -> list[Record]:
        lines = (self.stack.places.data("envoy") / "records.log").read_text().splitlines()
        return [parse(line) for line in lines if line]

    def record(self, request_id: str, hop: str = "ingress") -> Record:
        """The line of one call, once Envoy has flushed it."""

        def found() -> Record | None:
            return next((r for r in self.records() if (r.request_id, r.hop) == (request_id, hop)), None)

        record = eventually(found)
        assert record is not None
        return record

    def statistic(self, name: str) -> int:
        """Envoy's counter or gauge of that name; 0 while there is none."""
        url = f"http://{self.stack.address('envoy_admin')}/stats?filter=^{name}$"
        with urllib.request.urlopen(url) as reply:
            return sum(int(line.rpartition(": ")[2]) for line in reply.read().decode().splitlines())

    def records_of(self, request_ids: Collection[str]) -> dict[str, Record]:
        """The lines of many calls, once Envoy has flushed them all."""
        wanted = frozenset(request_ids)

        def found() -> dict[str, Record] | None:
            known = {r.request_id: r for r in self.records() if r.hop == "ingress" and r.request_id in wanted}
            return known if known.keys() == wanted else None

        records = eventually(found)
        assert records is not None
        return records

    def servers(self) -> tuple[Server, ...]:
        return tuple(Server(name, "127.0.0.1", self.stack.ports[f"triton_{name}_grpc"]) for name in ("a", "b"))

    def inputs(self, **changes: Any) -> Inputs:
        """Model m: versions 1, 2 and 3 (which fails) on both servers, 4 on a only; the route's default is 1."""
        given: dict[str, Any] = {
            "servers": self.servers(),
            "deployments": (*(Deployment("m", v, ("a", "b")) for v in ("1", "2", "3")), Deployment("m", "4", ("a",))),
            "routes": (Route("m", "1"),),
        }
        return Inputs(**{**given, **changes})


@contextlib.contextmanager
def running(home: Path, *more: str, **environment: str) -> Generator[DataPlane]:
    """Two Tritons that have the models, Envoy, and more parts of the stack, started in this environment."""
    stack = Stack(Places.of(home), Ports.free(), ("triton-a", "triton-b", "envoy", *more), durable=False)
    plane = DataPlane(stack)
    plane.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            stack.start(parent=os.getpid())
        models.load_everywhere(stack)
        yield plane
    finally:
        stack.stop()
        stack.remove()
        plane.stop()
