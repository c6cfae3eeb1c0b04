"""Real Tritons, Envoy, Postgres, routing and health_monitoring; who is deployed where is the test's word."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc

from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from libs.channels import open_channel
from penstock.health_monitoring.v1 import health_monitoring_service_pb2 as pb
from penstock.health_monitoring.v1.health_monitoring_service_pb2_grpc import HealthMonitoringServiceStub
from penstock.health_monitoring.v1.health_pb2 import HealthState, TargetHealth
from penstock.routing.v1 import routing_service_pb2
from penstock.routing.v1.route_pb2 import LOAD_BALANCING_ROUND_ROBIN, LoadBalancing, Route
from penstock.routing.v1.routing_service_pb2_grpc import RoutingServiceStub
from tests.integration.health_monitoring.owner import Owner
from tests.polling import eventually_async

PARTS = ("postgres", "triton-a", "triton-b", "envoy", "routing", "health_monitoring")
# an answer after `wait` seconds; an error that is 13 where the first number is 7, or always where `broken`
MODEL = """
import time
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(pb.get_input_tensor_by_name(r, "X").as_numpy()) for r in requests]
    def answer(self, x):
        time.sleep({wait})
        if {broken} or x[0, 0] == 7:
            return pb.InferenceResponse([], error=pb.TritonError("as asked"))
        return pb.InferenceResponse([pb.Tensor("Y", x)])
"""
CONFIG = """
name: "{name}" backend: "python" max_batch_size: 64
input [{{ name: "X" data_type: TYPE_FP32 dims: [4] }}]
output [{{ name: "Y" data_type: TYPE_FP32 dims: [4] }}]
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""


@dataclass
class World:
    stack: Stack
    owner: Owner
    channel: grpc.aio.Channel
    ingress: grpc.aio.Channel

    def __post_init__(self) -> None:
        self.health = HealthMonitoringServiceStub(self.channel)
        self.routing = RoutingServiceStub(self.ingress)
        self.inference: Any = service_pb2_grpc.GRPCInferenceServiceStub(self.ingress)

    @property
    def addresses(self) -> dict[str, str]:
        return {name: self.stack.address(f"triton_{name}_grpc") for name in ("a", "b")}

    def load(self, server: str, name: str, *, broken: bool = False, wait: float = 0.0) -> None:
        folder = self.stack.repository(server) / name
        (folder / "1").mkdir(parents=True, exist_ok=True)
        (folder / "1" / "model.py").write_text(MODEL.format(broken=broken, wait=wait))
        (folder / "config.pbtxt").write_text(CONFIG.format(name=name))
        with triton.InferenceServerClient(self.addresses[server]) as client:
            client.load_model(name)

    def say(self, *models: str, state: str = "READY") -> None:
        """Version 1 of each is deployed on both servers."""
        self.owner.say(self.addresses, {(model, "1"): ("a", "b") for model in models}, state)

    async def targets(self) -> dict[str, TargetHealth]:
        answer = await self.health.ListTargets(pb.ListTargetsRequest())
        return {target.target: target for target in answer.targets}

    async def becomes(self, **states: str) -> dict[str, TargetHealth]:
        """Until targets whose identity contains the name (`__` for what Python's names lack) are so."""
        wanted = {name.replace("__", "/"): HealthState.Value(f"HEALTH_STATE_{state}") for name, state in states.items()}

        async def so() -> dict[str, TargetHealth] | None:
            found = await self.targets()
            return found if all(found[name].state == state for name, state in wanted.items()) else None

        return await eventually_async(so, within=20, message=f"{states}")

    async def explain(self, target: str) -> pb.ExplainHealthResponse:
        return await self.health.ExplainHealth(pb.ExplainHealthRequest(target=target))

    async def told(self, so: Callable[[dict[str, TargetHealth]], object]) -> dict[str, TargetHealth]:
        """The first snapshot of WatchHealth, from now on, of which this is true."""
        async with asyncio.timeout(20):
            pending: list[TargetHealth] = []
            async for part in self.health.WatchHealth(pb.WatchHealthRequest()):
                pending += part.targets
                if part.complete:
                    snapshot = {target.target: target for target in pending}
                    pending = []
                    if so(snapshot):
                        return snapshot
        raise AssertionError("the watch ended")

    async def route(self, model: str, load_balancing: LoadBalancing.ValueType = LOAD_BALANCING_ROUND_ROBIN) -> None:
        said = Route(model=model, default_version="1", max_retries=5, load_balancing=load_balancing)
        await self.routing.CreateRoute(routing_service_pb2.CreateRouteRequest(route=said))
        await eventually_async(lambda: self.call(model), within=20)

    async def call(self, model: str, first: float = 1.0) -> Any:
        request = service_pb2.ModelInferRequest(model_name=model)
        tensor = request.inputs.add(name="X", datatype="FP32")
        tensor.shape.extend([1, 4])
        request.raw_input_contents.append(np.full(4, first, np.float32).tobytes())
        return await self.inference.ModelInfer(request, timeout=5)


@pytest.fixture(scope="session")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[World]:
    """Every test leaves it as it was: all up, model `m` loaded and deployed on both servers."""
    home: Path = tmp_path_factory.mktemp("health")
    stack = Stack(Places.of(home), Ports.free(), PARTS, durable=False)
    owner = Owner(stack.ports)
    channel, ingress = open_channel(stack.address("health_monitoring")), open_channel(stack.address("ingress"))
    try:
        await owner.start()
        owner.say({}, {})
        await asyncio.to_thread(stack.start, parent=os.getpid())
        world = World(stack, owner, channel, ingress)
        for server in ("a", "b"):
            await asyncio.to_thread(world.load, server, "m")
        world.say("m")
        await world.becomes(server__a="HEALTHY", server__b="HEALTHY")
        yield world
    finally:
        await channel.close()
        await ingress.close()
        await asyncio.to_thread(stack.stop)
        stack.remove()
        await owner.stop()


@pytest.fixture(autouse=True)
async def whole(world: World) -> None:
    """No test starts before the last one's damage has healed."""
    await eventually_async(lambda: _healed(world), within=30, message="not everything is healthy again")


async def _healed(world: World) -> bool:
    found = await world.targets()
    of_m = [
        target for target in found.values() if target.model in ("", "m") and not target.target.startswith("service")
    ]
    return len(of_m) == 4 and all(target.state == HealthState.HEALTH_STATE_HEALTHY for target in of_m)
