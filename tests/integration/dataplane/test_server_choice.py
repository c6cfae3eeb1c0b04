"""Which server of a set a real Envoy takes: in turn, the less busy one, the one on the ring."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from libs.errors import Unavailable
from services.routing.domain.compiled import Policy
from services.routing.domain.explain import endpoints_of, explain
from services.routing.domain.policy import (
    Allocation,
    Deployment,
    Inputs,
    LoadBalancing,
    Range,
    Route,
    Server,
    ServerWeight,
    Unhealthy,
)
from services.routing.domain.selection import How, select
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane

SERVERS = "vwxyz"
CALLERS = 8


@pytest.fixture(scope="session")
def answerers() -> Iterator[tuple[Server, ...]]:
    """Five servers of the protocol that say at once which version they were asked for."""

    def answer(asked: pb.ModelInferRequest, _: object) -> pb.ModelInferResponse:
        return pb.ModelInferResponse(model_name=asked.model_name, model_version=asked.model_version)

    handler = grpc.unary_unary_rpc_method_handler(
        answer, pb.ModelInferRequest.FromString, pb.ModelInferResponse.SerializeToString
    )
    running, found = [], []
    for name in SERVERS:
        server = grpc.server(ThreadPoolExecutor(2))
        service = models.INFER.split("/")[1]
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {"ModelInfer": handler}),))
        found.append(Server(name, "127.0.0.1", server.add_insecure_port("127.0.0.1:0")))
        server.start()
        running.append(server)
    yield tuple(found)
    for server in running:
        server.stop(0)


@st.composite
def rings(draw: st.DrawFn) -> Inputs:
    """Without servers: they come with the addresses of this run."""
    ready = st.sets(st.sampled_from(SERVERS), min_size=1).map(lambda names: tuple(sorted(names)))
    cut = draw(st.integers(1, 9999))
    ranges = draw(st.sampled_from([(), (Range(0, cut, "x", "2"),)]))
    sick = st.builds(Unhealthy, st.sampled_from(SERVERS), st.just("whole"))
    sick_version = st.builds(
        Unhealthy, st.sampled_from(SERVERS), st.just("wrong"), st.just("m"), st.sampled_from(("1", "2"))
    )
    return Inputs(
        deployments=(Deployment("m", "1", draw(ready)), Deployment("m", "2", draw(ready))),
        routes=(Route("m", "1", load_balancing=LoadBalancing.RING_HASH),),
        allocations=(Allocation("e", "m", draw(st.text("abc\\$", max_size=4)), ranges),) if ranges else (),
        unhealthy=tuple(
            draw(st.lists(sick | sick_version, max_size=3, unique_by=lambda u: (u.server, u.model, u.version)))
        ),
    )


@settings(max_examples=20, deadline=None)
@given(given_inputs=rings(), salt=st.integers(0, 10**6))
def test_select_names_the_server_that_envoy_takes(
    shared_plane: DataPlane, answerers: tuple[Server, ...], given_inputs: Inputs, salt: int
):
    """For each unit, on whatever ring; and where nobody is well Envoy still tries, and select says so."""
    policy = shared_plane.apply(replaced(given_inputs, answerers)).policy
    expected = {}
    with shared_plane.channel() as channel:
        for unit in [f"{salt}-{n}" for n in range(40)]:
            answer = models.call(channel, metadata=[("x-penstock-routing-key", unit)])
            assert answer.code == "OK"
            expected[answer.headers["x-request-id"]] = unit, answer
    for request_id, record in shared_plane.records_of(expected).items():
        unit, answer = expected[request_id]
        if nobody_well(policy, unit):
            continue
        chosen = select(policy, "m", unit, draw=lambda: 0)
        assert chosen.how is How.RING
        assert (chosen.endpoint.host, chosen.target.version) == (record.upstream, answer.version), unit
        assert chosen.variant == answer.headers.get("x-penstock-variant", "")


def nobody_well(policy: Policy, unit: str) -> bool:
    chain = explain(policy, "m", unit).chain
    assert chain is not None
    if not any(endpoint.included and endpoint.reason for endpoint in endpoints_of(policy, chain)):
        return False
    with pytest.raises(Unavailable, match="no healthy server"):
        select(policy, "m", unit, draw=lambda: 0)
    return True


def replaced(given_inputs: Inputs, servers: tuple[Server, ...]) -> Inputs:
    return Inputs(
        servers, given_inputs.deployments, given_inputs.routes, given_inputs.allocations, given_inputs.unhealthy
    )


def balanced(data_plane: DataPlane, answerers: tuple[Server, ...], way: LoadBalancing, **more: object) -> None:
    deployed = (Deployment("m", "1", tuple(SERVERS)),)
    data_plane.apply(Inputs(answerers, deployed, (Route("m", "1", load_balancing=way),), **more))


def counts(data_plane: DataPlane, ids: list[str]) -> collections.Counter[str]:
    return collections.Counter(record.upstream for record in data_plane.records_of(ids).values())


def one_after_the_other(channel: grpc.Channel, calls: int) -> list[str]:
    return [models.call(channel).headers["x-request-id"] for _ in range(calls)]


def test_in_turn_means_equal_counts(data_plane: DataPlane, answerers: tuple[Server, ...], ingress: grpc.Channel):
    balanced(data_plane, answerers, LoadBalancing.ROUND_ROBIN)
    found = counts(data_plane, one_after_the_other(ingress, 100))
    assert found == {server_host(server): 20 for server in answerers}


def test_weights_are_shares(data_plane: DataPlane, answerers: tuple[Server, ...], ingress: grpc.Channel):
    """Also when they change while calls go on, which is no other cluster: the same connections."""
    for weights in ((316, 100, 100, 100, 32), (32, 100, 100, 100, 316)):
        told = tuple(ServerWeight(name, weight) for name, weight in zip(SERVERS, weights, strict=True))
        balanced(data_plane, answerers, LoadBalancing.WEIGHTED_RESPONSE_TIME, weights=told)
        found = counts(data_plane, one_after_the_other(ingress, 200))
        for server, weight in zip(answerers, weights, strict=True):
            assert abs(found[server_host(server)] / 200 - weight / sum(weights)) < 0.02


def server_host(server: Server) -> str:
    return f"{server.address}:{server.port}"


@pytest.mark.parametrize(
    ("way", "of_the_slow"),
    [(LoadBalancing.ROUND_ROBIN, range(79, 82)), (LoadBalancing.LEAST_REQUEST, range(1, 64))],
    ids=["in turn", "the less busy"],
)
def test_a_slow_server_has_fewer_calls_only_where_the_busy_are_spared(
    data_plane: DataPlane, ingress: grpc.Channel, way: LoadBalancing, of_the_slow: range
):
    """Real Tritons, b answers 50 ms late; eight callers, each with one call in flight, 160 in all."""
    models.load_slow_on_b(data_plane.stack)
    route = Route("slow-on-b", "1", load_balancing=way)
    data_plane.apply(data_plane.inputs(routes=(route,), deployments=(Deployment("slow-on-b", "1", ("a", "b")),)))
    request = models.request("slow-on-b")
    with ThreadPoolExecutor(CALLERS) as callers:
        answers = list(callers.map(lambda _: models.call(ingress, request), range(160)))
    assert {answer.code for answer in answers} == {"OK"}
    found = counts(data_plane, [answer.headers["x-request-id"] for answer in answers])
    a, b = map(server_host, data_plane.servers())
    assert found[b] in of_the_slow, found
    assert found[a] + found[b] == 160


def test_a_unit_leaves_its_server_only_with_what_is_above_its_share(data_plane: DataPlane, ingress: grpc.Channel):
    """One at a time all its calls are there; of eight at once some are too many for it."""
    models.load_slow_on_b(data_plane.stack)
    route = Route("slow-on-b", "1", load_balancing=LoadBalancing.RING_HASH)
    inputs = data_plane.inputs(routes=(route,), deployments=(Deployment("slow-on-b", "1", ("a", "b")),))
    policy = data_plane.apply(inputs).policy
    a, b = map(server_host, data_plane.servers())
    unit = next(u for u in map(str, range(100)) if select(policy, "slow-on-b", u, draw=lambda: 0).endpoint.host == b)
    request, key = models.request("slow-on-b"), [("x-penstock-routing-key", unit)]

    def calls(count: int, at_once: int) -> collections.Counter[str]:
        with ThreadPoolExecutor(at_once) as callers:
            answers = list(callers.map(lambda _: models.call(ingress, request, key), range(count)))
        return counts(data_plane, [answer.headers["x-request-id"] for answer in answers])

    assert calls(10, 1) == {b: 10}
    together = calls(160, CALLERS)
    assert together[a] > 0, together
    assert together[a] + together[b] == 160
