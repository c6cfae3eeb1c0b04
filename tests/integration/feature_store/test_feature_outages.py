"""Neighbours that die, and the service itself: what is acknowledged stays, and all comes back by itself."""

import asyncio
import signal
from contextlib import AsyncExitStack
from types import SimpleNamespace

import grpc
import pytest
import redis

from libs.channels import open_channel
from libs.statuses import reason_of
from penstock.feature_store.v1 import feature_registry_service_pb2_grpc, feature_serving_service_pb2_grpc
from tests.conftest import running
from tests.integration.feature_store import flights_declared as f
from tests.polling import eventually_async

MIDNIGHT = 1_362_873_600_000_000
JFK = ("AA", "JFK")


@pytest.fixture(scope="module")
async def flights(tmp_path_factory):
    """Two worker processes behind one port, as `penstock up` runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENSTOCK_WORKERS", "2")
        around = running(tmp_path_factory.mktemp("features"), ("postgres", "redis", "feature_store"))
        stack = await asyncio.to_thread(around.__enter__)
    async with AsyncExitStack() as closing:
        closing.push_async_callback(asyncio.to_thread, around.__exit__, None, None, None)
        channel = open_channel(stack.address("feature_store"))
        closing.push_async_callback(channel.close)
        service = SimpleNamespace(
            stack=stack,
            registry=feature_registry_service_pb2_grpc.FeatureRegistryServiceStub(channel),
            features=feature_serving_service_pb2_grpc.FeatureServingServiceStub(channel),
        )
        await f.declare(service)
        yield service


async def unavailable(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(raised.value) == "STORE_UNAVAILABLE"


async def answered(call):
    """The first true answer, asked again while the stores come back."""
    return await eventually_async(call, within=30)


async def count(service, at_us):
    answer = await service.features.GetOnlineFeatures(f.online([JFK], at_us))
    return f.by_name(answer.features)["departures_1h"][0]


async def write_some(service, name, at_us):
    await service.features.WriteFeatures(f.weather([("JFK", at_us, 5.0, "clear")]))
    await service.features.PushEvents(f.departures([(f"{name}{i}", *JFK, at_us + i, float(i)) for i in range(10)]))
    return f.online([JFK], at_us + 10)


async def test_without_redis_history_answers_and_a_write_can_be_repeated(flights):
    at_us = MIDNIGHT + 24 * f.HOUR
    request = await write_some(flights, "redis", at_us)
    before = await flights.features.GetOnlineFeatures(request)
    late = f.departures([("redis-late", *JFK, at_us + 5, 1.0)])
    with flights.stack.held_down("redis"):
        await unavailable(flights.features.GetOnlineFeatures(request))
        assert (await f.read_history(flights, f.historical([JFK], [at_us + 10])))["wind"][0][0] == 5.0
        await unavailable(flights.features.PushEvents(late))
    assert (await answered(lambda: flights.features.PushEvents(late))).events_repeated == 1
    after = await flights.features.GetOnlineFeatures(request)
    assert [f.by_name(a.features)["departures_1h"][0][0] for a in (before, after)] == [10, 11]


async def test_what_reached_history_but_not_redis_comes_when_redis_does(flights):
    at_us = MIDNIGHT + 4 * 24 * f.HOUR
    await write_some(flights, "half", at_us)
    with flights.stack.held_down("redis"):
        await unavailable(flights.features.PushEvents(f.departures([("half-late", *JFK, at_us + 5, 1.0)])))

    async def whole():
        return (await count(flights, at_us + 10))[0] == 11

    assert await answered(whole)


async def test_a_redis_that_lost_everything_is_filled_again_before_it_answers(flights):
    at_us = MIDNIGHT + 2 * 24 * f.HOUR
    request = await write_some(flights, "empty", at_us)
    before = await flights.features.GetOnlineFeatures(request)
    with redis.Redis.from_url(flights.stack.redis_url) as client:
        client.flushall()
    assert await answered(lambda: flights.features.GetOnlineFeatures(request)) == before


async def test_without_postgres_what_is_online_is_served(flights):
    at_us = MIDNIGHT + 3 * 24 * f.HOUR
    request = await write_some(flights, "postgres", at_us)
    before = await flights.features.GetOnlineFeatures(request)
    pushed = f.departures([("postgres-late", *JFK, at_us + 5, 1.0)])
    with flights.stack.held_down("postgres"):
        assert await flights.features.GetOnlineFeatures(request) == before
        await unavailable(flights.features.PushEvents(pushed))
        assert await flights.features.GetOnlineFeatures(request) == before
    assert (await answered(lambda: flights.features.PushEvents(pushed))).events_written == 1


async def test_workers_end_with_the_process_that_supervises_them(flights):
    process = flights.stack.process("feature_store")
    workers = [worker for worker in process.family() if worker != process]
    assert len(workers) == 2
    await asyncio.to_thread(flights.stack.kill, "feature_store")
    await eventually_async(lambda: not any(worker.alive() for worker in workers), within=30)
    await asyncio.to_thread(flights.stack.wait_ready, "feature_store", unless=process)


async def test_what_was_acknowledged_survives_kill_9_and_is_counted_once(flights):
    """Events are pushed one by one while the service is killed twice; what failed is sent again, as a client would."""
    at_us = MIDNIGHT + 5 * 24 * f.HOUR
    pushing = asyncio.Event()
    repeats = 0

    async def push(i):
        nonlocal repeats
        request = f.departures([(f"kill{i}", *JFK, at_us + i, 1.0)])
        repeats += (await eventually_async(lambda: flights.features.PushEvents(request), within=60)).events_repeated
        pushing.set()

    async def push_all():
        for i in range(0, 600, 4):
            await asyncio.gather(*(push(i + j) for j in range(4)))

    pushed = asyncio.create_task(push_all())
    for _ in range(2):
        await pushing.wait()
        process = flights.stack.process("feature_store")
        workers = [worker for worker in process.family() if worker != process]
        await asyncio.to_thread(flights.stack.kill, "feature_store")
        # in the middle of whatever they do; without this they end by themselves, and gently
        for worker in workers:
            worker.send(signal.SIGKILL)
        await asyncio.to_thread(flights.stack.wait_ready, "feature_store", unless=process)
        pushing.clear()
    await pushed
    assert await count(flights, at_us + 600) == (600, 1, at_us + 599)
    found = await f.read_history(flights, f.historical([JFK], [at_us + 600]))
    assert found["departures_1h"] == [(600, 1, at_us + 599)]
