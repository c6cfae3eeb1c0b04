"""The history is written after the policy is published, tells who and why, and says what it missed."""

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from libs.errors import Unavailable
from services.routing.domain.compiler import compile_policy
from services.routing.domain.history import Count, Write
from services.routing.domain.parts import content_hash, encode
from services.routing.domain.policy import Deployment, Inputs, Route, Server, ServerWeight, Unhealthy
from services.routing.domain.snapshot import Resource, Snapshot
from services.routing.recording import Recorder
from tests.contract.history_in_memory import HistoryInMemory
from tests.polling import eventually_async

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ROUTE = Route("flights", "1")
INPUTS = Inputs(
    servers=(Server("a", "127.0.0.1", 1),),
    deployments=(Deployment("flights", "1", ("a",)), Deployment("flights", "2", ("a",))),
    routes=(ROUTE,),
)


class Noon:
    def now(self):
        return NOON


class Store(HistoryInMemory):
    """May be down, or take its time."""

    def __init__(self):
        super().__init__()
        self.down = False
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0

    async def append(self, *args):
        self.asked += 1
        await self.open.wait()
        if self.down:
            raise Unavailable("STORE_UNAVAILABLE", "Postgres cannot be reached")
        return await super().append(*args)


def snapshot(inputs, **resources):
    """One resource for each route, and what is given besides."""
    found = {route.model: Resource.of(route.default_version.encode()) for route in inputs.routes}
    return Snapshot(compile_policy(inputs), {CLUSTER: found | {n: Resource.of(b) for n, b in resources.items()}})


@asynccontextmanager
async def recording(store):
    recorder = Recorder(store, Noon(), again_seconds=0)
    task = asyncio.create_task(recorder.run())
    try:
        yield recorder
    finally:
        task.cancel()
        await asyncio.wait([task])


async def newest(store, number):
    await eventually_async(lambda: number in store._entries)
    return (await store.list(0, 1))[0]


def routed(version, **more):
    return replace(INPUTS, routes=(replace(ROUTE, default_version=version),), **more)


def note(recorder, inputs, **resources):
    made = snapshot(inputs, **resources)
    recorder.note(made, inputs)
    return made.revision


@pytest.fixture
def store():
    return Store()


async def test_the_first_one_is_all_new(store):
    async with recording(store) as recorder:
        revision = note(recorder, INPUTS)
        first = await newest(store, 1)
    assert (first.revision, first.time, first.authors) == (revision, NOON, ("routing",))
    assert first.reasons == ("the first snapshot that is recorded",)
    assert first.counts == (Count("Cluster", 1, added=1),)
    assert first.unrecorded == 0


async def test_it_says_who_wrote_a_route(store):
    async with recording(store) as recorder:
        note(recorder, INPUTS)
        await newest(store, 1)
        after = replace(ROUTE, default_version="2")
        await store.note([Write("flights", content_hash(encode(after)), "ana", NOON)])
        note(recorder, routed("2"))
        second = await newest(store, 2)
    assert second.authors == ("ana",)
    assert second.reasons == ("route flights: default_version 1 -> 2",)
    assert second.counts == (Count("Cluster", 1, changed=1),)


async def test_a_fact_is_told_with_the_snapshot_that_it_changes(store):
    async with recording(store) as recorder:
        note(recorder, INPUTS)
        await newest(store, 1)
        sick = replace(INPUTS, unhealthy=(Unhealthy("a", "slow"),))
        note(recorder, sick)
        note(recorder, sick, endpoints=b"without a")
        second = await newest(store, 2)
    assert second.authors == ("health_monitoring",)
    assert second.reasons == ("health of a: gets no calls: slow",)


async def test_weights_push_no_decision_out_of_the_history(store):
    """They follow the load all day; they are told with the next change that somebody made."""
    async with recording(store) as recorder:
        note(recorder, INPUTS, endpoints=b"")
        await newest(store, 1)
        for weight in (80, 64):
            weighed = replace(INPUTS, weights=(ServerWeight("a", weight, "slow"),))
            note(recorder, weighed, ClusterLoadAssignment=str(weight).encode())
        note(recorder, replace(weighed, unhealthy=(Unhealthy("a", "gone"),)), ClusterLoadAssignment=b"none")
        second = await newest(store, 2)
    assert second.reasons == ("health of a: gets no calls: gone", "weight of a: none -> 64: slow")
    assert second.authors == ("health_monitoring",)


async def test_a_route_that_changes_no_resource_is_recorded_all_the_same(store):
    async with recording(store) as recorder:
        revision = note(recorder, INPUTS)
        await newest(store, 1)
        slower = replace(INPUTS, routes=(replace(ROUTE, timeout=9.0),))
        assert note(recorder, slower) == revision
        second = await newest(store, 2)
    assert (second.revision, second.reasons) == (revision, ("route flights: timeout 0s -> 9s",))


async def test_the_same_inputs_compiled_otherwise_are_a_release(store):
    async with recording(store) as recorder:
        note(recorder, INPUTS)
        await newest(store, 1)
        note(recorder, INPUTS, more=b"of a new release")
        second = await newest(store, 2)
    assert second.authors == ("routing",)
    assert "another release" in second.reasons[0]


async def test_a_restart_records_nothing_and_knows_what_is_recorded(store):
    async with recording(store) as recorder:
        note(recorder, INPUTS)
        first = await newest(store, 1)
    async with recording(store) as recorder:
        note(recorder, INPUTS)
        await eventually_async(lambda: recorder.newest[0] == first)
        note(recorder, routed("2"))
        assert recorder.newest[0].number == 0
        second = await newest(store, 2)
        assert recorder.newest[0] == second
    assert second.reasons == ("route flights: default_version 1 -> 2",)


async def test_what_is_published_while_one_is_written_is_told_with_the_next(store):
    async with recording(store) as recorder:
        store.open.clear()
        note(recorder, INPUTS)
        await eventually_async(lambda: store.asked == 1)
        for version in "234":
            note(recorder, routed(version))
        store.open.set()
        second = await newest(store, 2)
    assert second.reasons == ("route flights: default_version 1 -> 4",)
    assert second.unrecorded == 2


async def test_while_postgres_is_down_nothing_waits_and_the_gap_is_told(store, caplog):
    async with recording(store) as recorder:
        note(recorder, INPUTS)
        await newest(store, 1)
        store.down = True
        with caplog.at_level(logging.WARNING):
            for version in "234":
                note(recorder, routed(version))
                asked = store.asked
                await eventually_async(lambda asked=asked: store.asked > asked + 1)
        store.down = False
        second = await newest(store, 2)
    assert caplog.text.count("the history waits, the policy does not") == 1
    assert second.unrecorded == 2
    assert second.reasons == (
        "not recorded before it, Postgres could not be reached: 2 snapshots",
        "route flights: default_version 1 -> 4",
    )


async def test_another_replica_may_have_recorded_meanwhile(store):
    async with recording(store) as one, recording(store) as other:
        note(one, INPUTS)
        await newest(store, 1)
        note(other, INPUTS)
        await eventually_async(lambda: other.newest[0].number == 1)
        note(one, routed("2"))
        await newest(store, 2)
        note(other, routed("3"))
        third = await newest(store, 3)
    assert third.reasons == ("route flights: default_version 2 -> 3",)


async def test_what_cannot_be_recorded_ends_nothing(store, caplog):
    async with recording(store) as recorder:
        with caplog.at_level(logging.ERROR):
            recorder.note(snapshot(INPUTS), None)
            await eventually_async(lambda: "was not recorded" in caplog.text)
        note(recorder, routed("2"))
        assert (await newest(store, 1)).unrecorded == 1
