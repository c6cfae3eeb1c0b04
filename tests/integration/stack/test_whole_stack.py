"""What `penstock up` starts, as one."""

from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from deploy.local import parts
from deploy.local.ports import SERVICES
from deploy.local.stack import Stack


def test_every_part_is_ready(stack: Stack) -> None:
    assert [part for part in parts.ALL if not stack.ready(part)] == []


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_is_reached_directly_and_says_it_serves(stack: Stack, service: str) -> None:
    async with grpc.aio.insecure_channel(stack.address(service)) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_every_part_comes_back_after_a_kill(stack: Stack) -> None:
    before = {part: stack.process(part) for part in parts.ALL}
    for part in parts.ALL:
        stack.kill(part)
    for part in parts.ALL:
        stack.wait_ready(part, within=60, unless=before[part])
    assert not any(identity.alive() for identity in before.values())
