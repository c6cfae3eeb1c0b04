"""How many calls of a model are under way, who waits, who is refused; and others do not notice."""

from __future__ import annotations

import collections
import re
import urllib.request
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from services.routing.domain.keys import key_hash
from services.routing.domain.policy import ApiKey, Deployment, Limits, Mirror, Retries, Route
from tests.integration.dataplane import models
from tests.integration.dataplane.load import under_load
from tests.integration.dataplane.plane import DataPlane
from tests.polling import eventually

MOST, MOST_WAITING = 5, 3
FULL = f"the model has {MOST} calls under way and {MOST_WAITING} waiting, as many as its route allows"
COUNTED = re.compile(r'penstock_bulkhead_refusals_total\{model="m",class="(\w+)"\} (\d+)')
URGENT = [("x-penstock-priority", "high")]


def limited(plane: DataPlane, **more) -> None:
    """Model m with version 5 for its default, which is on server a alone, as is what the other model has."""
    retries = Retries(per_try_timeout=30)
    route = Route("m", "5", retries=retries, limits=Limits(MOST, MOST_WAITING), **more)
    deployments = [Deployment("m", version, ("a",)) for version in ("1", "2", "5")]
    plane.apply(plane.inputs(routes=(route, Route("n", "1")), deployments=(*deployments, Deployment("n", "1", ("a",)))))


@contextmanager
def calling(channel: grpc.Channel, calls: int, **more) -> Generator[list]:
    """Calls at the same time; yields their futures. They are over when the block is."""
    with ThreadPoolExecutor(calls) as pool:
        yield [pool.submit(models.call, channel, **more) for _ in range(calls)]


def answers(futures: Sequence) -> collections.Counter[tuple[str, str]]:
    found = [future.result(30) for future in futures]
    return collections.Counter((answer.code, answer.text) for answer in found)


def under_way(plane: DataPlane) -> int:
    """Calls that a server has."""
    return plane.statistic("cluster.set-[0-9a-f]*.upstream_rq_active")


def counted(plane: DataPlane) -> collections.Counter[str]:
    """Refusals of model m by class, as Prometheus is told of them."""
    with urllib.request.urlopen(f"http://{plane.stack.address('envoy_admin')}/stats/prometheus") as answer:
        found = COUNTED.findall(answer.read().decode())
    return collections.Counter({class_: int(count) for class_, count in found})


def refused(futures: Sequence) -> int:
    return sum(future.done() for future in futures)


def test_beyond_its_limits_a_call_waits_or_is_refused_at_once(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane)
    with models.hanging(data_plane.stack), calling(ingress, 12) as futures:
        eventually(lambda: refused(futures) == 12 - MOST - MOST_WAITING, message="those beyond are refused meanwhile")
        assert under_way(data_plane) == MOST
        assert answers([f for f in futures if f.done()]) == {("RESOURCE_EXHAUSTED", FULL): 4}
        models.go_on(data_plane.stack)
        assert answers(futures)["OK", ""] == MOST + MOST_WAITING
    assert {models.call(ingress).code for _ in range(20)} == {"OK"}  # every place was given back


def test_who_is_refused_was_tried_nowhere_and_is_in_the_record(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane)
    with models.hanging(data_plane.stack), calling(ingress, 9) as futures:
        eventually(lambda: refused(futures) == 1)
        (answer,) = [future.result() for future in futures if future.done()]
        record = data_plane.record(answer.headers["x-request-id"])
        assert (record.route, record.grpc_status, record.attempts, record.upstream) == ("split", 8, 0, "")
        models.go_on(data_plane.stack)


def test_places_of_callers_who_went_away_are_free(data_plane: DataPlane):
    limited(data_plane)
    for gone in range(3):
        with models.hanging(data_plane.stack), data_plane.channel() as channel, calling(channel, 8) as futures:
            eventually(lambda: under_way(data_plane) == MOST, message=f"after {gone} times all places are there")
            channel.close()
        eventually(lambda: under_way(data_plane) == 0, message="Envoy has seen that they are gone")
    with data_plane.channel() as channel, calling(channel, 8) as futures:
        assert answers(futures) == {("OK", ""): 8}


def test_who_waits_goes_by_its_own_deadline(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane)
    infer = ingress.unary_unary(models.INFER, request_serializer=bytes)
    with models.hanging(data_plane.stack), calling(ingress, MOST) as futures:
        eventually(lambda: under_way(data_plane) == MOST)
        with pytest.raises(grpc.RpcError) as raised:
            infer(models.request().SerializeToString(), timeout=0.3)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        models.go_on(data_plane.stack)
        assert answers(futures) == {("OK", ""): MOST}


def test_a_large_call_waits_whole(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane)
    with models.hanging(data_plane.stack), calling(ingress, MOST) as futures:
        eventually(lambda: under_way(data_plane) == MOST)
        with calling(ingress, 2, message=models.request(rows=1 << 19)) as large:  # 8 MiB
            models.go_on(data_plane.stack)
            assert answers([*futures, *large]) == {("OK", ""): MOST + 2}


def test_what_waits_has_so_much_memory_and_no_more(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane)
    route = Route("m", "5", retries=Retries(per_try_timeout=30), limits=Limits(1, 100))
    data_plane.apply(data_plane.inputs(routes=(route,), deployments=(Deployment("m", "5", ("a",)),)))
    with models.hanging(data_plane.stack), calling(ingress, 1) as first:
        eventually(lambda: under_way(data_plane) == 1)
        with calling(ingress, 9, message=models.request(rows=1 << 21)) as large:  # 32 MiB
            eventually(lambda: refused(large) > 0)
            models.go_on(data_plane.stack)
            told = "the model has 1 calls under way, and all the memory for those that wait is taken"
            # with its frame and its name each is a little more than 32 MiB: 7 fit into 256
            assert answers(large) == {("OK", ""): 7, ("RESOURCE_EXHAUSTED", told): 2}
        assert answers(first) == {("OK", ""): 1}


def test_the_urgent_have_room_of_their_own(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane)
    with models.hanging(data_plane.stack), calling(ingress, 9) as ordinary:
        eventually(lambda: refused(ordinary) == 1)
        with calling(ingress, 9, metadata=URGENT) as urgent:
            eventually(lambda: refused(urgent) == 1)
            assert under_way(data_plane) == 2 * MOST
            models.go_on(data_plane.stack)
            assert answers(urgent)["OK", ""] == MOST + MOST_WAITING


def test_refusals_are_counted_by_model_and_class(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane)
    before = counted(data_plane)
    with models.hanging(data_plane.stack), calling(ingress, 12) as ordinary:
        eventually(lambda: refused(ordinary) == 4)
        with calling(ingress, 10, metadata=URGENT) as urgent:
            eventually(lambda: refused(urgent) == 2)
            models.go_on(data_plane.stack)
            answers([*ordinary, *urgent])
    eventually(lambda: counted(data_plane) - before == {"default": 4, "high": 2}, message="both are counted")


def test_only_a_key_with_the_role_makes_a_call_urgent(data_plane: DataPlane, ingress: grpc.Channel):
    names = {"caller": "aaaa", "urgent": "bbbb"}
    texts = {role: f"penstock_{name * 3}_{'s' * 32}" for role, name in names.items()}
    keys = tuple(
        ApiKey(name * 3, key_hash(texts[role]), "acme", role, tuple(sorted({"caller", role})))
        for role, name in names.items()
    )
    route = Route("m", "5", retries=Retries(per_try_timeout=30), limits=Limits(1, 0))
    inputs = data_plane.inputs(routes=(route,), deployments=(Deployment("m", "5", ("a",)),), keys=keys)
    data_plane.apply(inputs, authentication=True)

    def asked(role: str) -> list[tuple[str, str]]:
        return [("x-penstock-api-key", texts[role]), *URGENT]

    with models.hanging(data_plane.stack), calling(ingress, 1, metadata=asked("caller")) as first:
        eventually(lambda: under_way(data_plane) == 1)
        assert models.call(ingress, metadata=asked("caller")).code == "RESOURCE_EXHAUSTED"
        with calling(ingress, 1, metadata=asked("urgent")) as second:
            eventually(lambda: under_way(data_plane) == 2)
            models.go_on(data_plane.stack)
            assert answers([*first, *second]) == {("OK", ""): 2}


def test_copies_have_room_of_their_own_and_do_not_wait(data_plane: DataPlane, ingress: grpc.Channel):
    route = Route("m", "1", limits=Limits(MOST, MOST_WAITING), mirror=Mirror("5", 10_000))
    data_plane.apply(
        data_plane.inputs(routes=(route,), deployments=(*data_plane.inputs().deployments, Deployment("m", "5", ("a",))))
    )
    before = counted(data_plane)
    with models.hanging(data_plane.stack):
        ids = [models.call(ingress).headers["x-request-id"] for _ in range(20)]

        def dropped() -> int:
            found = [r for r in data_plane.records() if r.hop == "mirror" and r.request_id in set(ids)]
            return sum(r.grpc_status == 8 and r.upstream == "" for r in found)

        eventually(lambda: dropped() == 20 - MOST, message="copies beyond the limit are dropped at once")
        assert under_way(data_plane) == MOST
        eventually(lambda: counted(data_plane) - before == {"copy": 20 - MOST}, message="and counted as such")


def test_a_model_that_hangs_takes_nothing_from_another_on_its_server(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane)
    with models.hanging(data_plane.stack), calling(ingress, 64) as hanging:
        eventually(lambda: refused(hanging) == 64 - MOST - MOST_WAITING)
        with under_load(data_plane, callers=8, message=models.request("n")) as load:
            load.wait_for(500)
        assert load.codes() == {"OK": len(load.calls)}
        models.go_on(data_plane.stack)


def test_a_message_may_be_as_large_as_its_route_says(data_plane: DataPlane, ingress: grpc.Channel):
    message = models.request(rows=1000)
    size = message.ByteSize()
    for most, code in ((size, "OK"), (size - 1, "RESOURCE_EXHAUSTED"), (0, "OK")):
        route = Route("m", "1", limits=Limits(1, 0, max_message_bytes=most))
        data_plane.apply(data_plane.inputs(routes=(route, Route("n", "1"))))
        for _ in range(3):  # who is refused takes no place
            answer = models.call(ingress, message)
            assert answer.code == code
        if code != "OK":
            assert answer.text == f"the message has {size} bytes; its model's route allows {most}"
            assert data_plane.record(answer.headers["x-request-id"]).attempts == 0
            assert models.call(ingress).code == "OK"
    drained = data_plane.statistic("listener_manager.total_listeners_draining")
    assert drained == 0


def test_limits_change_under_load_without_a_failed_call(data_plane: DataPlane):
    with under_load(data_plane, callers=16) as load:
        for most in (1, 4, 2, 50, 3):
            data_plane.apply(data_plane.inputs(routes=(Route("m", "1", limits=Limits(most, 100)),)))
            load.wait_for(200)
    assert load.codes() == {"OK": len(load.calls)}


def test_a_route_that_lets_nobody_wait(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane)
    route = Route("m", "5", retries=Retries(per_try_timeout=30), limits=Limits(1, 0))
    data_plane.apply(data_plane.inputs(routes=(route,), deployments=(Deployment("m", "5", ("a",)),)))
    with models.hanging(data_plane.stack), calling(ingress, 3) as futures:
        eventually(lambda: refused(futures) == 2)
        models.go_on(data_plane.stack)
        told = "the model has 1 calls under way and 0 waiting, as many as its route allows"
        assert answers(futures) == {("OK", ""): 1, ("RESOURCE_EXHAUSTED", told): 2}
