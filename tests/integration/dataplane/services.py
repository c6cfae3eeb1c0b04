"""Something that listens where services would, and says which one it is."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from deploy.local.stack import Stack
from tests.integration.dataplane import models

SERVICES = {
    "routing": "/penstock.routing.v1.RoutingService/ListRoutes",
    "feature_store": "/penstock.feature_store.v1.FeatureServingService/GetOnlineFeatures",
    "model_serving": "/penstock.model_serving.v1.PredictionService/Predict",
    "experimentation": "/penstock.experimentation.v1.ExperimentationService/Assign",
    "cost_tracking": "/penstock.cost_tracking.v1.CostTrackingService/GetSpend",
    "health_monitoring": "/penstock.health_monitoring.v1.HealthMonitoringService/ExplainHealth",
}


@dataclass
class Service(grpc.GenericRpcHandler):
    """Answers every call, unary or stream, with its own name; remembers the callers' headers and deadlines."""

    name: str
    seen: dict[str, dict[str, Any]] = field(default_factory=dict)
    remaining: list[float] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        self.seen[handler_call_details.method] = dict(handler_call_details.invocation_metadata)
        return grpc.stream_stream_rpc_method_handler(self.answer)

    def answer(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        self.remaining.append(context.time_remaining())
        for _ in requests:
            yield self.name.encode()


@contextmanager
def listening(stack: Stack) -> Generator[dict[str, Service]]:
    """One in the place of each service of the stack but routing."""
    started, servers = {name: Service(name) for name in SERVICES if name != "routing"}, []
    for name, service in started.items():
        server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(service,))
        assert server.add_insecure_port(stack.address(name))
        server.start()
        servers.append(server)
    yield started
    for server in servers:
        server.stop(None)


def ask(channel: grpc.Channel, method: str, **more: Any) -> str:
    """The name of the service that answered, or the status."""
    call = channel.stream_stream(method, request_serializer=bytes, response_deserializer=bytes)
    try:
        return b"".join(call(iter([b"x"]), timeout=models.TIMEOUT, **more)).decode()
    except grpc.RpcError as error:
        return error.code().name
