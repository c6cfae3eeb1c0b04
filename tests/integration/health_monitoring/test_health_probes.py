"""What a probe asks of a server, over the wire."""

from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from libs.clock import SystemClock
from services.health_monitoring.clients.probes import prober
from services.health_monitoring.domain.belief import Outcome
from services.health_monitoring.domain.target import model_version, server

pb: Any = service_pb2


class OneModelFailed(service_pb2_grpc.GRPCInferenceServiceServicer):
    """As Triton with --strict-readiness=true answers after one load failed."""

    async def ServerLive(self, request, context):
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request, context):
        return pb.ServerReadyResponse(ready=False)

    async def ModelReady(self, request, context):
        return pb.ModelReadyResponse(ready=request.name == "loaded")


async def test_a_model_that_failed_to_load_costs_its_server_nothing():
    running = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(OneModelFailed(), running)
    address = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
    await running.start()
    targets = server("a", address), model_version("loaded", "1", "a", address), model_version("bad", "1", "a", address)
    outcomes = []
    for target in targets:
        async with prober(SystemClock())(target) as ask:
            outcomes.append((await ask(5)).outcome)
    await running.stop(None)
    assert outcomes == [Outcome.PASSED, Outcome.PASSED, Outcome.FAILED]
