"""Who answers: the split, pins, fallbacks, and what callers and the records are told about it."""

from __future__ import annotations

import collections
import uuid

import grpc
import pytest
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from libs import assignment
from services.routing.domain.policy import Allocation, Deployment, LoadBalancing, ModelVersion, Range, Route
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane

SPLIT = Allocation("e", "m", "salt", (Range(1000, 4000, "x", "1"), Range(6000, 9000, "y", "2")))


def test_every_unit_lands_where_the_shared_assignment_says(data_plane: DataPlane, ingress: grpc.Channel):
    data_plane.apply(data_plane.inputs(routes=(Route("m", "4"),), allocations=(SPLIT,)))
    units = [f"N{n:05}" for n in range(1500)] + ["a,b", "with space", "x" * 1024, "1:2\\1", "%41"]
    answers = models.by_unit(ingress, units)
    owned = [assignment.Range(r.start, r.end, r.variant, r.version) for r in SPLIT.ranges]
    for unit, answer in answers.items():
        owner = assignment.owner(owned, assignment.bucket(unit, "salt"))
        expected = (owner.version, owner.variant, "e") if owner else ("4", None, None)
        told = (
            answer.headers["x-penstock-model-version"],
            *map(answer.headers.get, ("x-penstock-variant", "x-penstock-experiment")),
        )
        assert (answer.code, answer.version, told) == ("OK", expected[0], expected), unit


@pytest.mark.parametrize("unit", ["ćma", "日本", "🙂", "a,b"])
def test_units_are_utf_8(data_plane: DataPlane, unit: str):
    data_plane.apply(data_plane.inputs(allocations=(SPLIT,)))
    headers = models.call_over_http1(data_plane.stack.address("ingress"), unit.encode())
    bucket = assignment.bucket(unit, "salt")
    expected = "2" if 6000 <= bucket < 9000 else "1"
    assert headers["x-penstock-model-version"] == expected
    assert data_plane.record(headers["x-request-id"]).unit == unit


def test_callers_without_a_key_are_dealt_out_by_weight_and_are_no_exposure(
    data_plane: DataPlane, ingress: grpc.Channel
):
    halves = Allocation("e", "m", "salt", (Range(0, 5000, "x", "1"), Range(5000, 10_000, "y", "2")))
    data_plane.apply(data_plane.inputs(allocations=(halves,)))
    answers = [models.call(ingress) for _ in range(200)]
    counts = collections.Counter(answer.version for answer in answers)
    assert min(counts["1"], counts["2"]) > 60
    assert data_plane.record(answers[0].headers["x-request-id"]).unit == ""


def test_a_pinned_version_is_served_outside_every_experiment(data_plane: DataPlane, ingress: grpc.Channel):
    everybody = Allocation("e", "m", "salt", (Range(0, 10_000, "x", "2"),))
    data_plane.apply(data_plane.inputs(allocations=(everybody,)))
    assert models.call(ingress).version == "2"
    for version in ("1", "4"):
        answer = models.call(ingress, models.request(version=version))
        assert (answer.code, answer.version, answer.headers.get("x-penstock-experiment")) == ("OK", version, None)
        assert data_plane.record(answer.headers["x-request-id"]).route == "pinned"


def test_an_undeployed_pin_and_an_unknown_model_are_not_found(ingress: grpc.Channel):
    answer = models.call(ingress, models.request(version="9"))
    assert (answer.code, answer.text) == ("NOT_FOUND", "model m has no version 9 deployed")
    answer = models.call(ingress, models.request(model="zzz"))
    assert (answer.code, answer.text) == ("NOT_FOUND", "model 'zzz' has no route")


def test_nothing_to_serve_with_is_unavailable(data_plane: DataPlane, ingress: grpc.Channel):
    data_plane.apply(data_plane.inputs(deployments=(Deployment("m", "1", ()),)))
    for message in (models.request(), models.request(version="1")):
        answer = models.call(ingress, message)
        assert (answer.code, answer.text) == ("UNAVAILABLE", "no server can serve model 'm' now")


def test_a_failing_version_falls_back_and_says_so(data_plane: DataPlane, ingress: grpc.Channel):
    data_plane.apply(data_plane.inputs(routes=(Route("m", "3", (ModelVersion("m", "2"),)),)))
    answer = models.call(ingress)
    assert (answer.code, answer.version) == ("OK", "2")
    assert answer.headers["x-penstock-model-version"] == "2"
    assert answer.headers["x-penstock-degraded"] == "fallback-model"
    record = data_plane.record(answer.headers["x-request-id"])
    assert (record.version, record.degraded, record.attempts) == ("2", "fallback-model", 4)


def test_another_model_may_be_the_fallback(data_plane: DataPlane, ingress: grpc.Channel):
    inputs = data_plane.inputs(routes=(Route("other", "1", (ModelVersion("m", "2"),)),))
    data_plane.apply(inputs)
    answer = models.call(ingress, models.request(model="other"))
    assert (answer.code, answer.version, answer.headers["x-penstock-degraded"]) == ("OK", "2", "fallback-model")


def test_a_version_that_is_not_there_falls_back_at_once(data_plane: DataPlane, ingress: grpc.Channel):
    data_plane.apply(data_plane.inputs(routes=(Route("m", "9", (ModelVersion("m", "2"),)),)))
    answer = models.call(ingress)
    assert (answer.version, answer.headers["x-envoy-attempt-count"]) == ("2", "1")
    assert answer.headers["x-penstock-degraded"] == "fallback-model"


def test_a_failure_without_a_fallback_is_tritons_own(data_plane: DataPlane, ingress: grpc.Channel):
    answer = models.call(ingress, models.request(version="3"))
    assert (answer.code, answer.text) == ("INTERNAL", "version 3 always fails")


def test_calls_go_to_servers_that_have_the_version_only(data_plane: DataPlane, ingress: grpc.Channel):
    a, b = (f"127.0.0.1:{server.port}" for server in data_plane.servers())
    for version, expected in (("1", {a, b}), ("4", {a})):
        answers = [models.call(ingress, models.request(version=version)) for _ in range(20)]
        assert {data_plane.record(x.headers["x-request-id"]).upstream for x in answers} == expected


@pytest.mark.parametrize("allocations", [(), (SPLIT,)], ids=["one version", "split"])
def test_a_unit_stays_with_its_server_on_the_ring(data_plane: DataPlane, ingress: grpc.Channel, allocations):
    data_plane.apply(
        data_plane.inputs(routes=(Route("m", "1", load_balancing=LoadBalancing.RING_HASH),), allocations=allocations)
    )
    used = collections.defaultdict(set)
    for version in ("", "2"):
        for unit in [f"unit-{n}" for n in range(12)] * 3:
            answer = models.call(ingress, models.request(version=version), metadata=[("x-penstock-routing-key", unit)])
            used[unit].add(data_plane.record(answer.headers["x-request-id"]).upstream)
    assert all(len(servers) == 1 for servers in used.values())
    assert set.union(*used.values()) == {f"127.0.0.1:{server.port}" for server in data_plane.servers()}


def test_the_record_says_all_of_a_call(data_plane: DataPlane, ingress: grpc.Channel):
    data_plane.apply(data_plane.inputs(allocations=(SPLIT,)))
    unit = next(u for u in map(str, range(100)) if 6000 <= assignment.bucket(u, "salt") < 9000)
    mine = [("x-penstock-routing-key", unit), ("x-request-id", "mine"), ("x-penstock-tenant", "somebody")]
    answer = models.call(ingress, metadata=mine)
    assert answer.headers["x-request-id"] != "mine"
    record = data_plane.record(answer.headers["x-request-id"])
    assert (record.hop, record.route, record.grpc_status, record.http_status) == ("ingress", "split", 0, 200)
    assert (record.tenant, record.principal, record.client_request_id) == ("local", "local", "mine")
    assert (record.model, record.version, record.variant, record.experiment) == ("m", "2", "y", "e")
    assert (record.unit, record.attempts, record.degraded, record.flags) == (unit, 1, "", "")
    assert 0 < record.upstream_us < record.duration_us
    assert record.bytes_in > 5
    assert record.bytes_out > 5
    assert record.reached_triton


def test_an_answer_tells_its_id_to_who_asks_or_needs_it(data_plane: DataPlane, ingress: grpc.Channel):
    data_plane.apply(data_plane.inputs())
    infer = GRPCInferenceServiceStub(ingress).ModelInfer
    _, call = infer.with_call(models.request(), timeout=models.TIMEOUT)
    assert "x-request-id" not in dict(call.initial_metadata())
    _, call = infer.with_call(models.request(), timeout=models.TIMEOUT, metadata=[models.TAG])
    assert data_plane.record(dict(call.initial_metadata())["x-request-id"]).client_request_id == models.TAG[1]
    for wrong in (models.request("nobody"), models.request(version="3"), models.request("m m")):
        with pytest.raises(grpc.RpcError) as raised:
            infer(wrong, timeout=models.TIMEOUT)
        said = dict([*raised.value.initial_metadata(), *raised.value.trailing_metadata()])
        assert uuid.UUID(said["x-request-id"]).version == 4


def test_a_caller_cannot_say_what_only_the_edge_and_envoy_may(data_plane: DataPlane, ingress: grpc.Channel):
    """Where the call goes, how it is tried and who pays for it."""
    data_plane.apply(data_plane.inputs())
    told = [
        *(("x-penstock-scope", "other"), ("x-penstock-chain", "2,2"), ("x-penstock-pin", "2"), ("x-penstock-pin", "3")),
        *(("x-penstock-door", "slow"), ("x-penstock-tenant", "acme"), ("x-penstock-roles", "admin")),
        *(("x-penstock-anything", "1"), ("x-client-request-id", "another"), ("x-envoy-max-retries", "0")),
        *(("x-envoy-upstream-rq-timeout-ms", "1"), ("x-envoy-attempt-count", "7"), ("x-envoy-retry-on", "5xx")),
    ]
    answer = models.call(ingress, metadata=told)
    assert (answer.code, answer.version) == ("OK", "1")
    record = data_plane.record(answer.headers["x-request-id"])
    assert (record.tenant, record.attempts, record.client_request_id) == ("local", 1, models.TAG[1])


def test_the_mesh_trusts_identity_and_names_its_own_hop(data_plane: DataPlane):
    metadata = [("x-request-id", "one"), ("x-penstock-tenant", "acme"), ("x-penstock-principal", "model_serving")]
    with data_plane.channel("mesh") as channel:
        assert models.call(channel, metadata=metadata).code == "OK"
    record = data_plane.record("one", "mesh")
    assert (record.tenant, record.principal, record.reached_triton) == ("acme", "model_serving", True)
