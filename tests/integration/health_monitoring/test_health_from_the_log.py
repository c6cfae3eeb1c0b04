"""What real calls through a real Envoy say: the access log stream, as deploy/envoy/bootstrap.yaml sends it."""

from __future__ import annotations

import asyncio

import grpc

from penstock.health_monitoring.v1.health_pb2 import HealthState
from tests.integration.health_monitoring.conftest import World
from tests.integration.health_monitoring.test_health_of_real_servers import metrics
from tests.polling import eventually_async


async def deployed(world: World, model: str, *, broken: tuple[str, ...] = ()) -> None:
    for server in ("a", "b"):
        await asyncio.to_thread(world.load, server, model, broken=server in broken)
    world.say("m", model)
    await world.told(lambda found: f"model/{model}/1@a" in found)
    await world.route(model)


async def test_calls_are_counted_by_version_and_server(world: World) -> None:
    await deployed(world, "counted")
    for _ in range(40):
        await world.call("counted")

    async def all_of_them() -> bool:
        calls = [(await world.explain(f"model/counted/1@{server}")).calls for server in ("a", "b")]
        assert all(each.errors == 0 for each in calls)
        # one more made sure that the route was there
        return sum(each.calls for each in calls) == 41

    await eventually_async(all_of_them)
    calls = (await world.explain("model/counted/1@a")).calls
    assert calls.window.ToSeconds() == 30
    assert 0 < calls.p50.ToNanoseconds() <= calls.p99.ToNanoseconds()
    whole = (await world.explain("server/a")).calls
    assert whole.calls >= calls.calls
    exposed = await asyncio.to_thread(metrics, world)
    assert 'ai_inference_latency_count{model="counted",status="OK",version="1"} 41.0' in exposed
    world.say("m")


async def test_a_server_that_answers_probes_and_fails_calls_is_found_out(world: World) -> None:
    """Each failed attempt counts against its server, though the callers, retried elsewhere, saw none fail."""
    await deployed(world, "broken", broken=("a",))

    async def until_out() -> bool:
        for _ in range(10):
            await world.call("broken")
        return not (await world.targets())["model/broken/1@a"].receives_traffic

    await eventually_async(until_out, within=20)
    found = await world.targets()
    assert found["model/broken/1@a"].state == HealthState.HEALTH_STATE_UNHEALTHY
    assert found["model/broken/1@a"].reason.startswith("probes pass, but ")
    assert found["model/broken/1@b"].receives_traffic
    assert found["server/a"].receives_traffic
    explained = await world.explain("model/broken/1@a")
    assert explained.probe.passed
    assert explained.calls.errors == explained.calls.calls > 0
    world.say("m")


async def test_a_model_that_fails_everywhere_is_unhealthy_and_keeps_its_traffic(world: World) -> None:
    """One caller's poison must not take a model from all others."""
    await deployed(world, "poisoned")

    async def until_known() -> bool:
        for _ in range(10):
            try:
                await world.call("poisoned", first=7)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.INTERNAL  # noqa: PT017  the call may pass, too
        found = await world.targets()
        return all(
            found[f"model/poisoned/1@{server}"].state == HealthState.HEALTH_STATE_UNHEALTHY for server in ("a", "b")
        )

    await eventually_async(until_known, within=20)
    found = await world.targets()
    assert all(found[f"model/poisoned/1@{server}"].receives_traffic for server in ("a", "b"))
    await world.call("poisoned")
    world.say("m")
