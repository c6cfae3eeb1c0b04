"""Ejection in fleets of 2, 3 and 10 servers: whoever is gone is left, whoever is back is found, the last one stays."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from deploy.envoy.record import Record
from services.routing.domain.policy import Deployment, LoadBalancing, Retries, Route, Server
from tests.integration.dataplane import models
from tests.integration.dataplane.load import under_load
from tests.integration.dataplane.plane import DataPlane
from tests.polling import eventually

FLEETS = (2, 3, 10)


class Tiny:
    """A server of ModelInfer that can be stopped, started again where it was, and made to keep silent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.speaks = threading.Event()
        self.speaks.set()
        self.port = 0
        self.start()

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(max_workers=16))
        infer = grpc.unary_unary_rpc_method_handler(
            self._answer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
        )
        service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": infer})
        self._server.add_generic_rpc_handlers((service,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        self._server.start()

    def stop(self) -> None:
        self.speaks.set()
        self._server.stop(0).wait()

    def _answer(self, request: pb.ModelInferRequest, context: grpc.ServicerContext) -> pb.ModelInferResponse:
        self.speaks.wait()
        return pb.ModelInferResponse(model_name=request.model_name, model_version="1")


@contextmanager
def fleet(plane: DataPlane, size: int) -> Iterator[tuple[list[Tiny], str]]:
    """So many servers of version 1, and the name of their set."""
    servers = [Tiny(f"t{n}") for n in range(size)]
    try:
        inputs = plane.inputs(
            servers=tuple(Server(server.name, "127.0.0.1", server.port) for server in servers),
            deployments=(Deployment("m", "1", tuple(server.name for server in servers)),),
            routes=(Route("m", "1", load_balancing=LoadBalancing.ROUND_ROBIN, retries=Retries(per_try_timeout=0.25)),),
        )
        (name,) = plane.apply(inputs).policy.server_sets
        yield servers, name
    finally:
        for server in servers:
            server.stop()


def ejected(plane: DataPlane, name: str) -> int:
    return plane.statistic(f"cluster.{name}.outlier_detection.ejections_active")


@dataclass
class Callers:
    """`codes` counts how all calls ended, also those of a probe that was asked again."""

    plane: DataPlane
    codes: Counter[str] = field(default_factory=Counter)

    def reach(self, count: int) -> set[str]:
        """Which servers answered so many calls."""
        with self.plane.channel() as channel:
            answers = [models.call(channel) for _ in range(count)]
        self.codes.update(answer.code for answer in answers)
        ids = {answer.headers["x-request-id"] for answer in answers}

        def told() -> list[Record] | None:
            found = [r for r in self.plane.records() if r.request_id in ids]
            return found if len(found) == count else None

        return {record.upstream for record in eventually(told) or ()}


def addresses(servers: Sequence[Tiny]) -> set[str]:
    return {f"127.0.0.1:{server.port}" for server in servers}


@pytest.mark.parametrize("size", FLEETS)
def test_one_that_refuses_is_ejected_and_found_again(data_plane: DataPlane, size: int):
    callers = Callers(data_plane)
    with fleet(data_plane, size) as (servers, name):
        servers[0].stop()
        eventually(lambda: callers.reach(4 * size) and ejected(data_plane, name) == 1, within=30)
        assert callers.reach(4 * size) == addresses(servers[1:])
        servers[0].start()
        eventually(lambda: callers.reach(4 * size) == addresses(servers), within=30, message="it is back")
    assert callers.codes.keys() == {"OK"}


@pytest.mark.parametrize("size", FLEETS)
def test_one_that_keeps_silent_is_ejected_and_found_again(data_plane: DataPlane, size: int):
    """Under load: each connection that is made tells Envoy that the server is there, so that the limits of attempts
    one after the other never count up to three. Where calls are few, health_monitoring's probes find it."""
    callers = Callers(data_plane)
    with fleet(data_plane, size) as (servers, name):
        with under_load(data_plane, callers=32) as load:
            load.wait_for(100)
            servers[0].speaks.clear()
            eventually(lambda: ejected(data_plane, name) == 1, within=30, message="it is ejected")
            load.wait_for(100)
            servers[0].speaks.set()
        assert load.codes() == {"OK": len(load.calls)}
        eventually(lambda: callers.reach(4 * size) == addresses(servers), within=30, message="it is back")
    assert callers.codes.keys() == {"OK"}


@pytest.mark.parametrize("size", FLEETS)
def test_all_but_the_last_may_be_ejected(data_plane: DataPlane, size: int):
    callers = Callers(data_plane)
    with fleet(data_plane, size) as (servers, name):
        for server in servers[1:]:
            server.stop()
        eventually(lambda: callers.reach(10) and ejected(data_plane, name) == size - 1, within=30)
        assert addresses(servers[:1]) <= callers.reach(20)


@pytest.mark.parametrize("size", FLEETS)
def test_when_all_were_gone_they_are_found_again(data_plane: DataPlane, size: int):
    with fleet(data_plane, size) as (servers, name), data_plane.channel() as channel:
        for server in servers:
            server.stop()

        def gone() -> bool:
            return models.call(channel).code == "UNAVAILABLE" and ejected(data_plane, name) >= size - 1

        eventually(gone, within=30, message="all but one are ejected")
        for server in servers:
            server.start()
        eventually(lambda: models.call(channel).code == "OK", within=10)
