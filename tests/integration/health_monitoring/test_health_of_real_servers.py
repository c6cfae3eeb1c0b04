"""Servers die, hang and come back; health_monitoring finds out by asking them, and says so."""

from __future__ import annotations

import asyncio
import base64
from urllib.request import urlopen

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from libs.statuses import reason_of
from penstock.health_monitoring.v1 import health_monitoring_service_pb2 as pb
from penstock.health_monitoring.v1.health_pb2 import HealthState, TargetKind
from tests.integration.health_monitoring.conftest import World
from tests.polling import eventually_async

M_A, M_B = "model/m/1@a", "model/m/1@b"


async def test_everybody_who_answers_is_healthy(world: World) -> None:
    found = await world.becomes(service__routing="HEALTHY", service__health_monitoring="HEALTHY")
    assert {"server/a", "server/b", M_A, M_B} < set(found)
    assert found[M_A].kind == TargetKind.TARGET_KIND_MODEL_VERSION
    assert (found[M_A].model, found[M_A].version, found[M_A].server) == ("m", "1", "a")
    assert all(found[target].receives_traffic for target in (M_A, M_B, "server/a", "server/b"))


async def test_a_service_that_is_not_there_is_unhealthy(world: World) -> None:
    found = await world.becomes(service__cost_tracking="UNHEALTHY")
    assert "UNAVAILABLE" in found["service/cost_tracking"].reason
    assert found["service/cost_tracking"].server == ""


async def test_a_killed_server_loses_its_traffic_and_gets_it_back_version_by_version(world: World) -> None:
    await asyncio.to_thread(world.stack.hold, "triton-a", kill=True)
    down = await world.told(lambda found: not found["server/a"].receives_traffic and not found[M_A].receives_traffic)
    assert down["server/a"].state == HealthState.HEALTH_STATE_UNHEALTHY
    assert down["server/b"].receives_traffic
    world.stack.release("triton-a")
    empty = await world.becomes(server__a="HEALTHY")
    assert not empty[M_A].receives_traffic
    await asyncio.to_thread(world.load, "a", "m")
    await world.told(lambda found: found[M_A].receives_traffic)
    history = (await world.explain(M_A)).transitions
    assert [t.to for t in history[:2]] == [HealthState.HEALTH_STATE_HEALTHY, HealthState.HEALTH_STATE_UNHEALTHY]


async def test_a_stopped_server_is_unknown_and_gets_no_traffic_until_it_goes_on(world: World) -> None:
    world.stack.suspend("triton-b")
    try:
        found = await world.told(lambda found: not found["server/b"].receives_traffic)
        assert found["server/b"].state == HealthState.HEALTH_STATE_UNKNOWN
        explained = await world.explain("server/b")
        assert not explained.probe.passed
        assert explained.probe.message == "no answer within 1 s"
        await world.becomes(**{M_B.replace("/", "__"): "UNKNOWN"})
    finally:
        world.stack.resume("triton-b")
    found = await world.becomes(server__b="HEALTHY")
    assert found["server/b"].receives_traffic


async def test_a_monitor_that_restarts_alone_keeps_a_stopped_server_out(world: World) -> None:
    """With the owner of deployments down as well, it knows who is there from what it remembered."""
    world.stack.suspend("triton-b")
    try:
        before = await world.told(lambda found: not found["server/b"].receives_traffic)
        await eventually_async(lambda: _written(world, "server/b", before["server/b"].since))
        await world.owner.stop()
        world.stack.kill("health_monitoring")
        await asyncio.to_thread(world.stack.wait_ready, "health_monitoring")
        first = await world.told(lambda _: True)
        assert first["server/b"] == before["server/b"]
        assert first["server/a"].receives_traffic
    finally:
        world.stack.resume("triton-b")
        await world.owner.start()
    await world.becomes(server__b="HEALTHY")


async def _written(world: World, target: str, time: object) -> bool:
    answer = await world.health.ListTransitions(pb.ListTransitionsRequest(target=target, page_size=1))
    return [t.time for t in answer.transitions] == [time]


async def test_without_postgres_health_goes_on_and_history_waits(world: World) -> None:
    await asyncio.to_thread(world.stack.hold, "postgres")
    try:
        world.stack.suspend("triton-b")
        await world.told(lambda found: not found["server/b"].receives_traffic)
        explained = await world.explain("server/b")
        assert explained.transitions[0].to == HealthState.HEALTH_STATE_UNKNOWN
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await world.health.ListTransitions(pb.ListTransitionsRequest())
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert reason_of(raised.value) == "STORE_UNAVAILABLE"
    finally:
        world.stack.resume("triton-b")
        world.stack.release("postgres")
    await world.told(lambda found: found["server/b"].receives_traffic)
    listed = await eventually_async(
        lambda: _since(world, "server/b", explained.transitions[0].time), within=30, message="history was lost"
    )
    assert [t.to for t in listed] == [HealthState.HEALTH_STATE_HEALTHY, HealthState.HEALTH_STATE_UNKNOWN]


async def _since(world: World, target: str, time: object) -> list[object] | None:
    request = pb.ListTransitionsRequest(target=target)
    getattr(request, "from").CopyFrom(time)
    found = (await world.health.ListTransitions(request)).transitions
    return list(found) if len(found) == 2 else None


async def test_a_version_that_is_taken_off_is_no_target_any_more(world: World) -> None:
    for server in ("a", "b"):
        await asyncio.to_thread(world.load, server, "leaving")
    world.say("m", "leaving")
    await world.told(lambda found: "model/leaving/1@a" in found)
    world.say("m", "leaving", state="UNLOADING")
    await world.told(lambda found: not any(target.startswith("model/") for target in found))
    world.say("m")
    await world.told(lambda found: {M_A, M_B} < set(found))
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await world.explain("model/leaving/1@a")
    assert reason_of(raised.value) == "TARGET_NOT_FOUND"


async def test_a_watch_that_is_current_is_told_so_and_pages_hold_together(world: World) -> None:
    async for part in world.health.WatchHealth(pb.WatchHealthRequest()):
        assert part.complete
        revision = part.revision
        break
    async for part in world.health.WatchHealth(pb.WatchHealthRequest(last_revision=revision)):
        assert (part.unchanged, part.revision) == (True, revision)
        break
    pages, token = [], ""
    while True:
        answer = await world.health.ListTargets(pb.ListTargetsRequest(page_size=3, page_token=token))
        pages += [target.target for target in answer.targets]
        token = answer.next_page_token
        if not token:
            break
    assert pages == sorted(await world.targets())


@pytest.mark.parametrize(
    ("call", "request_", "code", "reason"),
    [
        ("ExplainHealth", pb.ExplainHealthRequest(), "INVALID_ARGUMENT", "INVALID_REQUEST"),
        ("ExplainHealth", pb.ExplainHealthRequest(target="server/z"), "NOT_FOUND", "TARGET_NOT_FOUND"),
        ("ListTargets", pb.ListTargetsRequest(page_token="x"), "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"),
        ("ListTransitions", pb.ListTransitionsRequest(page_token="WyJhIl0="), "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"),
    ],
)
async def test_bad_requests(world: World, call: str, request_: object, code: str, reason: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await getattr(world.health, call)(request_)
    assert (raised.value.code().name, reason_of(raised.value)) == (code, reason)


def metrics(world: World) -> str:
    with urlopen(f"http://{world.stack.address('health_monitoring_metrics')}/metrics") as answer:
        return answer.read().decode()


async def test_metrics_say_the_same(world: World) -> None:
    await world.becomes(service__routing="HEALTHY", service__cost_tracking="UNHEALTHY")
    exposed = await asyncio.to_thread(metrics, world)
    assert 'ai_service_health{service="routing"} 1.0' in exposed
    assert 'ai_service_health{service="cost_tracking"} 0.0' in exposed
    assert 'penstock_target_state{kind="server",target="server/a"} 1.0' in exposed
    assert 'penstock_probe_duration_seconds_count{kind="model",outcome="passed"}' in exposed


async def test_a_time_that_is_none_and_a_token_that_was_made_up(world: World) -> None:
    request = pb.ListTransitionsRequest(page_token=base64.urlsafe_b64encode(b'["yesterday", "x"]').decode())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await world.health.ListTransitions(request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert reason_of(raised.value) == "INVALID_PAGE_TOKEN"
    request = pb.ListTransitionsRequest(**{"from": Timestamp(seconds=2**60)})
    with pytest.raises(grpc.aio.AioRpcError, match="from: no time between") as raised:
        await world.health.ListTransitions(request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
