"""A real Envoy and two real Tritons; the policy is compiled from inputs that the tests write, and served by our ADS."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from deploy.envoy.record import Record, parse
from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from libs.clock import SystemClock
from services.routing.domain.policy import Deployment, Inputs, ModelVersion, Route, Server
from services.routing.domain.snapshot import Snapshot
from services.routing.xds.ads import Ads
from services.routing.xds.resources import compile_snapshot
from tests.integration.dataplane import models
from tests.polling import eventually

OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]


@dataclass
class DataPlane:
    """Runs the ADS server in a thread with a loop of its own, as a process of its own would."""

    stack: Stack
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    ads: Ads | None = None
    server: grpc.aio.Server | None = None

    def start(self) -> None:
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.serve_ads()

    def serve_ads(self) -> None:
        """A new ADS server, which knows nothing."""

        async def serve() -> None:
            self.ads = Ads(SystemClock(), linger_seconds=0.5)
            self.server = grpc.aio.server()
            self.ads.register(self.server)
            assert self.server.add_insecure_port(self.stack.address("routing"))
            await self.server.start()

        asyncio.run_coroutine_threadsafe(serve(), self.loop).result(10)

    def stop_ads(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(None), self.loop).result(10)

    def publish(self, snapshot: Snapshot) -> None:
        self.loop.call_soon_threadsafe(self.ads.publish, snapshot)

    def apply(self, inputs: Inputs) -> Snapshot:
        """Publish what they compile to and wait until Envoy has acknowledged all of it."""
        snapshot = compile_snapshot(inputs)
        self.publish(snapshot)
        eventually(lambda: self.acknowledged() == snapshot.revision, within=20)
        return snapshot

    def acknowledged(self) -> str:
        found = self.ads.acknowledged("")
        return found[1].revision if found else ""

    def channel(self, listener: str = "ingress") -> grpc.Channel:
        return grpc.insecure_channel(self.stack.address(listener), OPTIONS)

    def records(self) -> list[Record]:
        lines = (self.stack.places.data("envoy") / "records.log").read_text().splitlines()
        return [parse(line) for line in lines if line]

    def servers(self) -> tuple[Server, ...]:
        return tuple(Server(name, "127.0.0.1", self.stack.ports[f"triton_{name}_grpc"]) for name in ("a", "b"))

    def inputs(self, **changes) -> Inputs:
        """Model m: versions 1, 2 and 3 on both servers, version 4 on a only; the route's default is 1."""
        given = {
            "servers": self.servers(),
            "deployments": (*(Deployment("m", v, ("a", "b")) for v in ("1", "2", "3")), Deployment("m", "4", ("a",))),
            "routes": (Route("m", "1"),),
        }
        return Inputs(**{**given, **changes})


@pytest.fixture(scope="session")
def data_plane(tmp_path_factory: pytest.TempPathFactory) -> Generator[DataPlane]:
    home: Path = tmp_path_factory.mktemp("the data plane")
    stack = Stack(Places.of(home), Ports.free(), ("triton-a", "triton-b", "envoy"), durable=False)
    plane = DataPlane(stack)
    plane.start()
    try:
        stack.start(parent=os.getpid())
        for server, versions in (("a", (1, 2, 3, 4)), ("b", (1, 2, 3))):
            models.load(stack, server, "m", versions)
        yield plane
    finally:
        stack.stop()
        stack.remove()
        plane.stop_ads()
        plane.loop.call_soon_threadsafe(plane.loop.stop)


@pytest.fixture
def ingress(data_plane: DataPlane) -> Iterator[grpc.Channel]:
    with data_plane.channel() as channel:
        yield channel


@pytest.fixture
def fallback_to() -> ModelVersion:
    return ModelVersion("m", "2")
