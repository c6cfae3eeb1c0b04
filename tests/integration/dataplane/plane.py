"""The data plane under test: real servers of a stack, and an ADS server in a loop of its own."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import Any

import grpc

from deploy.envoy.record import Record, parse
from deploy.local.stack import Stack
from libs.clock import SystemClock
from services.routing.domain.policy import Deployment, Inputs, Route, Server
from services.routing.domain.snapshot import Snapshot
from services.routing.xds.ads import Ads
from services.routing.xds.resources import compile_snapshot
from tests.polling import eventually

OPTIONS = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
LINGER_SECONDS = 0.5


@dataclass
class DataPlane:
    """Tests write the inputs; nothing of routing runs but its compiler and its ADS server."""

    stack: Stack
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    ads: Ads | None = None
    server: grpc.aio.Server | None = None

    def start(self) -> None:
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.serve_ads()

    def stop(self) -> None:
        self.stop_ads()
        self.loop.call_soon_threadsafe(self.loop.stop)

    def serve_ads(self) -> None:
        """A new ADS server, which knows nothing yet."""

        async def serve() -> None:
            self.ads = Ads(SystemClock(), linger_seconds=LINGER_SECONDS)
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
        eventually(lambda: self.acknowledged() == snapshot.revision, within=20, message="Envoy did not acknowledge")
        return snapshot

    def acknowledged(self, node: str = "envoy") -> str:
        found = self.ads.acknowledged(node)
        return found[1].revision if found else ""

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
