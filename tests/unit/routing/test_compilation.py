"""The loop that compiles: never from nothing, never twice for one change, never down for a bad input."""

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from services.routing.compilation import Compilation, differences
from services.routing.domain.compiler import compile_policy
from services.routing.domain.known import Deployed, Ears, Judged, Known
from services.routing.domain.policy import Allocation, Deployment, Inputs, Route, Server, Unhealthy
from services.routing.domain.snapshot import Resource, Snapshot
from tests.polling import eventually_async

ROUTES = (Route("m", "1"),)
DEPLOYED = Deployed((Server("a", "127.0.0.1", 1),), (Deployment("m", "1", ("a",)),))
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDLESS = 3600.0
NOTHING = Known()


def compiled(inputs):
    if any(route.default_version == "bad" for route in inputs.routes):
        raise RuntimeError("cannot be compiled")
    return Snapshot(compile_policy(inputs), {CLUSTER: {"all": Resource.of(repr(inputs).encode())}})


class Memory:
    """Keeps in memory what the file keeps on disk."""

    def __init__(self):
        self.known = None
        self.full = False

    def write(self, known):
        if self.full:
            raise OSError("no space left on device")
        self.known = known


class Published:
    """What an ADS server would have been given."""

    def __init__(self):
        self._given = asyncio.Queue()

    def __call__(self, snapshot):
        self._given.put_nowait(snapshot)

    async def next(self):
        async with asyncio.timeout(10):
            return await self._given.get()

    @property
    def nothing_more(self):
        return self._given.empty()


@asynccontextmanager
async def running(known=NOTHING, patience=ENDLESS, memory=None, compile_snapshot=compiled):
    ears, published, memory = Ears(known), Published(), memory or Memory()
    compilation = Compilation(ears, compile_snapshot, published, memory, patience_seconds=patience)
    task = asyncio.create_task(compilation.run())
    try:
        yield ears, published, memory
    finally:
        task.cancel()
        await asyncio.wait([task])


def expected(**known):
    return compiled(Known(**known).inputs()).revision


async def test_nothing_is_compiled_before_routes_and_deployments_are_known():
    async with running(patience=0) as (ears, published, _):
        ears.routes(ROUTES)
        ears.judged(Judged())
        await asyncio.sleep(0)
        assert published.nothing_more
        ears.deployed(DEPLOYED)
        assert (await published.next()).revision == expected(routes=ROUTES, deployed=DEPLOYED)


async def test_the_first_start_waits_for_everybody():
    async with running() as (ears, published, _):
        ears.routes(ROUTES)
        ears.deployed(DEPLOYED)
        ears.allocations(())
        ears.keys(())
        ears.limits(())
        await asyncio.sleep(0)
        assert published.nothing_more
        ears.judged(Judged((Unhealthy("a", "down"),)))
        snapshot = await published.next()
        assert snapshot.revision == expected(routes=ROUTES, deployed=DEPLOYED, unhealthy=(Unhealthy("a", "down"),))


async def test_the_first_start_does_not_wait_for_ever_and_says_what_it_lacks(caplog):
    with caplog.at_level(logging.WARNING):
        async with running(Known(routes=ROUTES, deployed=DEPLOYED), patience=0) as (_, published, _):
            assert (await published.next()).revision == expected(routes=ROUTES, deployed=DEPLOYED)
    assert "compiling without allocations and health and keys and limits" in caplog.text


async def test_what_was_known_before_a_restart_is_compiled_at_once():
    last = Known(ROUTES, DEPLOYED, (), (Unhealthy("a", "down"),), (), ())
    async with running(last) as (ears, published, _):
        assert (await published.next()).revision == compiled(last.inputs()).revision
        ears.judged(Judged())
        assert (await published.next()).revision == expected(routes=ROUTES, deployed=DEPLOYED)


async def test_hearing_the_same_again_compiles_nothing():
    async with running(Known(ROUTES, DEPLOYED, (), (), (), ())) as (ears, published, _):
        await published.next()
        ears.deployed(DEPLOYED)
        ears.allocations((Allocation("e", "m", "s", ()),))
        assert (await published.next()).revision == expected(
            routes=ROUTES, deployed=DEPLOYED, allocations=(Allocation("e", "m", "s", ()),)
        )
        assert published.nothing_more


async def test_what_changes_during_a_compile_is_compiled_together():
    begun, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(inputs):
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(10)
        return compiled(inputs)

    async with running(Known(ROUTES, DEPLOYED, (), (), (), ()), compile_snapshot=slow) as (ears, published, _):
        await begun.wait()
        for version in "23456789":
            ears.routes((Route("m", version),))
        go_on.set()
        assert (await published.next()).revision == expected(routes=ROUTES, deployed=DEPLOYED)
        assert (await published.next()).revision == expected(routes=(Route("m", "9"),), deployed=DEPLOYED)
        assert published.nothing_more


async def test_a_bad_input_leaves_the_last_policy_in_force(caplog):
    with caplog.at_level(logging.ERROR):
        async with running(Known(ROUTES, DEPLOYED, (), (), (), ())) as (ears, published, memory):
            await published.next()
            ears.routes((Route("m", "bad"),))
            await eventually_async(lambda: "could not be compiled" in caplog.text)
            assert published.nothing_more
            assert memory.known is None or memory.known.routes == ROUTES
            ears.routes((Route("m", "2"),))
            assert (await published.next()).revision == expected(routes=(Route("m", "2"),), deployed=DEPLOYED)


async def test_a_full_disk_stops_nothing(caplog):
    memory = Memory()
    memory.full = True
    with caplog.at_level(logging.ERROR):
        async with running(Known(ROUTES, DEPLOYED, (), (), (), ()), memory=memory) as (ears, published, _):
            await published.next()
            ears.routes((Route("m", "2"),))
            await published.next()
    assert "was not kept" in caplog.text


async def test_what_is_in_force_is_kept():
    async with running(Known(ROUTES, DEPLOYED, (), (), (), ())) as (ears, published, memory):
        await published.next()
        ears.routes((Route("m", "2"),))
        await published.next()
        await eventually_async(lambda: memory.known == Known((Route("m", "2"),), DEPLOYED, (), (), (), ()))


async def test_the_newest_is_kept_when_routing_stops():
    async with running(Known(ROUTES, DEPLOYED, (), (), (), ())) as (ears, published, memory):
        await published.next()
        await eventually_async(lambda: memory.known is not None)
        ears.routes((Route("m", "2"),))
        await published.next()
    assert memory.known == Known((Route("m", "2"),), DEPLOYED, (), (), (), ())


def snapshot(**clusters):
    return Snapshot(compile_policy(Inputs()), {CLUSTER: {n: Resource.of(body) for n, body in clusters.items()}})


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, snapshot(a=b"1"), ["Cluster: 1 new (a)"]),
        (snapshot(a=b"1"), snapshot(a=b"1"), []),
        (snapshot(a=b"1", b=b"1"), snapshot(b=b"2", c=b"1"), ["Cluster: 1 new (c), 1 changed (b), 1 gone (a)"]),
        (None, snapshot(**dict.fromkeys("abcdefg", b"1")), ["Cluster: 7 new (a, b, c, d, e, …)"]),
    ],
)
def test_what_changed_is_told_in_short(before, after, told):
    assert list(differences(before, after)) == told
