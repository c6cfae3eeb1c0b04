"""GET /health through the ingress, also while nobody can be asked. Four services are not there in this stack."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from tests.integration.health_monitoring.conftest import World
from tests.polling import eventually_async
from tests.rest import Answer, Rest


async def asked(world: World) -> Answer:
    return await asyncio.to_thread(Rest(world.stack.address("ingress")).get, "/health")


async def told(world: World, check: str, status: str) -> Answer:
    """The first answer in which the check has this status."""

    async def so() -> Answer | None:
        answer = await asked(world)
        return answer if (check, status) in statuses(answer.json).items() else None

    return await eventually_async(so, within=20, message=f"{check} is {status}")


def statuses(document: Any) -> dict[str, str]:
    return {check["name"]: check["status"] for check in document["checks"]}


async def test_a_service_that_is_not_there_makes_it_503(world: World) -> None:
    answer = await told(world, "service/cost_tracking", "UNHEALTHY")
    assert (answer.status, answer.json["status"]) == (503, "UNHEALTHY")
    assert statuses(answer.json)["service/routing"] == "HEALTHY"
    assert statuses(answer.json)["server/a"] == "HEALTHY"


async def test_a_service_that_goes_away_and_comes_back(world: World) -> None:
    await told(world, "service/routing", "HEALTHY")
    with world.stack.held_down("routing"):
        # Envoy keeps the way to it without routing
        assert (await told(world, "service/routing", "UNHEALTHY")).status == 503
    await told(world, "service/routing", "HEALTHY")


async def test_without_health_monitoring_it_is_told_that_nobody_can_tell(world: World) -> None:
    with world.stack.held_down("health_monitoring"):
        answer = await told(world, "service/health_monitoring", "UNHEALTHY")
        assert (answer.status, answer.json["status"], len(answer.json["checks"])) == (503, "UNHEALTHY", 1)
    await told(world, "service/routing", "HEALTHY")


async def test_a_health_monitoring_that_hangs_is_not_waited_for(world: World) -> None:
    world.stack.suspend("health_monitoring")
    try:
        answer = await asked(world)
        assert (answer.status, statuses(answer.json)) == (503, {"service/health_monitoring": "UNHEALTHY"})
    finally:
        world.stack.send("health_monitoring", signal.SIGCONT)
