"""A part of the calls is copied to another version, and no caller notices."""

from __future__ import annotations

import grpc
import pytest
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb

from deploy.envoy.record import Record
from services.routing.domain.explain import explain
from services.routing.domain.policy import (
    Allocation,
    Deployment,
    LoadBalancing,
    Mirror,
    Range,
    Retries,
    Route,
    Unhealthy,
)
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane
from tests.polling import eventually

EVERY = 10_000
CALLS = 1500


def mirrored(plane: DataPlane, version: str, basis_points: int = EVERY, **more) -> None:
    route = Route("m", "1", mirror=Mirror(version, basis_points), retries=Retries(per_try_timeout=2.0))
    everywhere = [Deployment("m", v, ("a", "b")) for v in ("1", "2", "3")]
    only_a = [Deployment("m", v, ("a",)) for v in ("4", "5")]
    plane.apply(plane.inputs(**{"routes": (route,), "deployments": (*everywhere, *only_a), **more}))


def call(channel: grpc.Channel, calls: int, **more) -> list[str]:
    """The ids that their records have."""
    answers = [models.call(channel, **more) for _ in range(calls)]
    assert {(answer.code, answer.text) for answer in answers} == {("OK", "")}
    return [answer.headers["x-request-id"] for answer in answers]


def copies(plane: DataPlane, ids: list[str]) -> list[Record]:
    wanted = set(ids)
    return [r for r in plane.records() if r.hop == "mirror" and r.request_id in wanted]


def all_copies(plane: DataPlane, ids: list[str]) -> list[Record]:
    eventually(lambda: len(copies(plane, ids)) == len(ids), within=20, message="each call has the record of its copy")
    return copies(plane, ids)


def in_flight(plane: DataPlane) -> int:
    return plane.statistic("cluster.mirror.upstream_rq_active")


def served(plane: DataPlane, version: str) -> int:
    """How many inferences of the version both servers have made."""
    total = 0
    for server in ("a", "b"):
        with triton.InferenceServerClient(plane.stack.address(f"triton_{server}_grpc")) as client:
            total += client.get_inference_statistics("m", version).model_stats[0].inference_stats.success.count
    return total


def test_the_share_of_copies_is_the_one_that_was_asked_for(data_plane: DataPlane, ingress: grpc.Channel):
    mirrored(data_plane, "2", 2500)
    before = served(data_plane, "2")
    ids = call(ingress, CALLS)
    expected, deviation = CALLS / 4, (CALLS * 0.25 * 0.75) ** 0.5
    eventually(lambda: in_flight(data_plane) == 0)
    eventually(
        lambda: len(copies(data_plane, ids)) == served(data_plane, "2") - before, message="a record for each copy"
    )
    found = copies(data_plane, ids)
    assert abs(len(found) - expected) < 5 * deviation
    told = {(r.route, r.version, r.grpc_status, r.attempts, r.experiment, r.variant, r.tenant) for r in found}
    assert told == {("mirror", "2", 0, 1, "", "", "local")}
    assert len({r.request_id for r in found}) == len(found)
    assert {r.upstream for r in found} == {data_plane.stack.address(f"triton_{name}_grpc") for name in "ab"}


@pytest.mark.parametrize("balancing", LoadBalancing)
def test_calls_in_an_experiment_are_copied_and_their_copies_are_in_none(
    data_plane: DataPlane, ingress: grpc.Channel, balancing: LoadBalancing
):
    split = Allocation("e", "m", "salt", (Range(0, 10_000, "x", "4"),))
    route = Route("m", "1", load_balancing=balancing, mirror=Mirror("2", EVERY))
    mirrored(data_plane, "2", routes=(route,), allocations=(split,))
    answer = models.call(ingress, metadata=[("x-penstock-routing-key", "somebody")])
    assert (answer.version, answer.headers["x-penstock-variant"]) == ("4", "x")
    assert "x-penstock-degraded" not in answer.headers
    (copy,) = all_copies(data_plane, [answer.headers["x-request-id"]])
    assert (copy.version, copy.experiment, copy.variant, copy.unit) == ("2", "", "", "somebody")


def test_a_mirror_that_fails_is_tried_once_and_nobody_is_told(data_plane: DataPlane, ingress: grpc.Channel):
    mirrored(data_plane, "3")
    found = all_copies(data_plane, call(ingress, 50))
    assert {(r.grpc_status, r.attempts) for r in found} == {(13, 1)}


def test_a_mirror_that_hangs_holds_no_caller_up_and_loses_no_server(data_plane: DataPlane, ingress: grpc.Channel):
    mirrored(data_plane, "5")
    with models.hanging(data_plane.stack):
        ids = call(ingress, 300)  # far more than may be under way at once
        eventually(lambda: in_flight(data_plane) == 50, message="of 300, what the bulkhead lets through")
        # beyond the limit of one attempt and several rounds of ejection
        eventually(
            lambda: in_flight(data_plane) == 0, within=models.TIMEOUT + 5, message="copies end with their deadlines"
        )
        ids += call(ingress, 50)
    eventually(lambda: {r.grpc_status for r in copies(data_plane, ids)} >= {4})
    of_callers = [r for r in data_plane.records() if r.hop == "ingress" and r.request_id in set(ids)]
    assert {(r.grpc_status, r.attempts) for r in of_callers} == {(0, 1)}
    assert len({r.upstream for r in of_callers[-50:]}) == 2


@pytest.mark.parametrize(
    ("version", "more", "why"),
    [
        ("9", {}, "version 9 of m is not deployed"),
        ("4", {"unhealthy": (Unhealthy("a", "slow", "m", "4"),)}, "unhealthy: a: slow"),
    ],
)
def test_a_mirror_that_nobody_can_serve_gets_nothing_and_says_why(
    data_plane: DataPlane, ingress: grpc.Channel, version: str, more: dict, why: str
):
    route = Route("m", "1", mirror=Mirror(version, EVERY))
    policy = data_plane.apply(data_plane.inputs(routes=(route,), **more)).policy
    before = data_plane.statistic("cluster.mirror.upstream_rq_total")
    call(ingress, 20)
    assert data_plane.statistic("cluster.mirror.upstream_rq_total") == before
    assert [fault.message for fault in policy.faults] == [f"mirror {version} gets no copies: {why}"]
    assert explain(policy, "m").copies.absence == why


def test_who_pins_a_version_is_not_copied(data_plane: DataPlane, ingress: grpc.Channel):
    mirrored(data_plane, "2")
    before = data_plane.statistic("cluster.mirror.upstream_rq_total")
    call(ingress, 20, message=models.request(version="4"))
    assert data_plane.statistic("cluster.mirror.upstream_rq_total") == before


@pytest.mark.parametrize("name", ["mirror:2", "mirror"])
def test_nobody_can_ask_for_the_route_of_copies(data_plane: DataPlane, ingress: grpc.Channel, name: str):
    mirrored(data_plane, "2")
    answer = models.call(ingress, models.request(version=name), [("x-penstock-pin", "mirror:2")])
    assert (answer.code, answer.version) == ("NOT_FOUND", "")


def test_calls_and_messages_of_streams_on_the_mesh_are_copied_too(data_plane: DataPlane):
    mirrored(data_plane, "2")
    before = served(data_plane, "2")
    with data_plane.channel("mesh") as mesh:
        for form in ([], [("x-penstock-stream", "Stream")]):
            id_ = f"of the mesh {len(form)}"
            infer = mesh.unary_unary(models.INFER, request_serializer=bytes)
            infer(models.request().SerializeToString(), timeout=10, metadata=[("x-request-id", id_), *form])
            (copy,) = all_copies(data_plane, [id_])
            assert (copy.version, copy.grpc_status) == ("2", 0)
    assert served(data_plane, "2") == before + 2


def test_a_large_call_is_copied_whole(data_plane: DataPlane, ingress: grpc.Channel):
    mirrored(data_plane, "2")
    (id_,) = call(ingress, 1, message=models.request(rows=1 << 20))  # 16 MiB
    (copy,) = all_copies(data_plane, [id_])
    sent = data_plane.record(id_).bytes_in + len(pb.ModelInferRequest(model_version="1").SerializeToString())
    assert (copy.grpc_status, copy.bytes_in) == (0, sent)  # the call's own version is in it, before the copy's
