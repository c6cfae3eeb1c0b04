"""A slow server gets fewer of the calls to a route that weighs servers, and ExplainRoute says why."""

from __future__ import annotations

import asyncio
import collections
import urllib.request

from deploy.envoy.record import parse
from penstock.routing.v1.explanation_pb2 import Endpoint
from penstock.routing.v1.route_pb2 import LOAD_BALANCING_WEIGHTED_RESPONSE_TIME
from penstock.routing.v1.routing_service_pb2 import ExplainRouteRequest
from tests.integration.health_monitoring.conftest import World
from tests.polling import eventually_async

SLOW = 0.05


async def endpoints(world: World, model: str) -> dict[str, Endpoint]:
    told = await world.routing.ExplainRoute(ExplainRouteRequest(model=model))
    return {endpoint.server: endpoint for endpoint in told.explanation.endpoints}


async def test_a_slow_server_gets_a_smaller_share(world: World) -> None:
    for server, wait in (("a", 0.0), ("b", SLOW)):
        await asyncio.to_thread(world.load, server, "weighed", wait=wait)
    world.say("m", "weighed")
    await world.told(lambda found: "model/weighed/1@a" in found)
    await world.route("weighed", LOAD_BALANCING_WEIGHTED_RESPONSE_TIME)
    assert {e.weight for e in (await endpoints(world, "weighed")).values()} == {100}
    sent = await asyncio.to_thread(sent_by_routing, world)
    caller = asyncio.create_task(calling(world, "weighed"))
    try:
        told = await eventually_async(lambda: parted(world, "weighed"), within=90)
    finally:
        caller.cancel()
        await asyncio.wait([caller])
    assert "times the mean of the servers" in told["b"].weight_reason
    after = await asyncio.to_thread(sent_by_routing, world)
    assert {kind for kind in after if after[kind] != sent.get(kind, 0)} == {"ClusterLoadAssignment"}
    told = await endpoints(world, "weighed")
    before = len(upstreams(world, "weighed"))
    for _ in range(100):
        await world.call("weighed")
    counts = await eventually_async(lambda: all_of_them(world, before + 100))
    share = counts[told["b"].address] / 100
    weights = {server: endpoint.weight for server, endpoint in told.items()}
    assert abs(share - weights["b"] / sum(weights.values())) < 0.08, (counts, weights)
    world.say("m")


async def calling(world: World, model: str) -> None:
    async def one_after_the_other() -> None:
        while True:
            await world.call(model)

    await asyncio.gather(*(one_after_the_other() for _ in range(4)))


async def parted(world: World, model: str) -> dict[str, Endpoint] | None:
    told = await endpoints(world, model)
    return told if told["a"].weight >= 3 * told["b"].weight else None


async def all_of_them(world: World, calls: int) -> dict[str, int] | None:
    """By upstream, of the last hundred."""
    found = upstreams(world, "weighed")
    return collections.Counter(found[-100:]) if len(found) >= calls else None


def upstreams(world: World, model: str) -> list[str]:
    lines = (world.stack.places.data("envoy") / "records.log").read_text().splitlines()
    records = [parse(line) for line in lines if line]
    return [record.upstream for record in records if record.model == model]


def sent_by_routing(world: World) -> dict[str, float]:
    """Resources that were sent, by type."""
    with urllib.request.urlopen(f"http://{world.stack.address('routing_metrics')}/metrics") as page:
        lines = page.read().decode().splitlines()
    counted = [line.split() for line in lines if line.startswith("penstock_ads_resources_sent_total{")]
    return {name.split('"')[1]: float(value) for name, value in counted}
