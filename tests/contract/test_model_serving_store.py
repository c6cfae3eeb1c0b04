"""What the stores of model_serving promise, run on every store."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

import services.model_serving
from libs.errors import AlreadyExists, Conflict, NotFound, Precondition
from libs.paging import page
from libs.postgres import Database
from services.model_serving.domain.deployment import PlacementState, Server
from services.model_serving.domain.model import Model, Stage
from services.model_serving.domain.reconcile import Change
from services.model_serving.domain.signature import Signature, TensorSpec
from services.model_serving.stores.placements import DeploymentStore
from services.model_serving.stores.servers import ServerStore
from services.model_serving.stores.versions import RegistryStore
from tests.contract.model_serving_in_memory import ModelServingInMemory
from tests.unit.model_serving.model_versions import FOUR, NOON, model_version

MIGRATIONS = Path(services.model_serving.__file__).parent / "migrations"
LATER = NOON + timedelta(seconds=5, microseconds=7)
PENDING, READY = PlacementState.PENDING, PlacementState.READY
FAILED, UNLOADING = PlacementState.FAILED, PlacementState.UNLOADING
A, B = Server("a", "127.0.0.1:8001", "", "127.0.0.1:8002"), Server("b", "127.0.0.1:8011", "/models")
SHIFT = Model("shift", "adds its version", "us", "", NOON)


def together(*stores):
    """One object with the methods of all, as the in-memory store is."""
    names = {name: getattr(store, name) for store in stores for name in dir(store) if not name.startswith("_")}
    return SimpleNamespace(**names)


@pytest.fixture
async def in_memory():
    return ModelServingInMemory()


@pytest.fixture
async def in_postgres(fresh_database):
    database = Database(fresh_database, "model_serving", MIGRATIONS)
    keeping = asyncio.create_task(database.keep_open())
    await database.connected()
    yield together(RegistryStore(database), ServerStore(database), DeploymentStore(database))
    keeping.cancel()
    await asyncio.wait([keeping])
    await database.close()


@pytest.fixture(params=["in_memory", "in_postgres"])
def store(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
async def filled(store):
    """Two servers, and versions 1, 2 and 10 of `shift`."""
    await store.create_server(A)
    await store.create_server(B)
    await store.create_model(SHIFT)
    for version in ("10", "2", "1"):
        await store.create_version(model_version(version))
    return store


async def refused(reason, attempt, kind):
    with pytest.raises(kind) as raised:
        await attempt
    assert raised.value.reason == reason


def moved(deployment, server, state, now=LATER, message=""):
    before = next(p for p in deployment.placements if p.server == server)
    return Change((deployment.model, deployment.version), before, before.enter(state, now, message))


async def every(read, size):
    """All pages, one after another."""
    found, token = [], ""
    while True:
        rows, token = await read(page(size, token))
        assert len(rows) <= size
        found += rows
        if not token:
            return found


class TestRegistry:
    async def test_what_is_created_can_be_read(self, store):
        created = await store.create_model(SHIFT)
        assert replace(created, etag="") == SHIFT
        assert await store.get_model("shift") == created
        labelled = model_version("7", class_labels=("a", "é"), feature_service="flights", max_batch_size=0)
        version = await store.create_version(labelled)
        assert replace(version, etag=labelled.etag) == labelled
        assert await store.get_version("shift", "7") == version

    async def test_names_are_taken_once(self, filled):
        await refused("MODEL_EXISTS", filled.create_model(replace(SHIFT, owner="others")), AlreadyExists)
        again = model_version("2", class_labels=("x",))
        await refused("MODEL_VERSION_EXISTS", filled.create_version(again), AlreadyExists)
        assert (await filled.get_version("shift", "2")).class_labels == ()

    async def test_what_is_not_there_is_not_found(self, filled):
        await refused("MODEL_NOT_FOUND", filled.get_model("nobody"), NotFound)
        await refused("MODEL_NOT_FOUND", filled.create_version(model_version(model="nobody")), NotFound)
        await refused("MODEL_NOT_FOUND", filled.list_versions("nobody", page(1, "")), NotFound)
        for version in ("3", "02", "x", "", "9" * 30):
            await refused("MODEL_VERSION_NOT_FOUND", filled.get_version("shift", version), NotFound)
        stage = filled.set_stage("shift", "3", Stage.STAGING, "")
        await refused("MODEL_VERSION_NOT_FOUND", stage, NotFound)

    async def test_lists_are_in_order(self, filled):
        for name in ("Zebra", "alpha", "shift-2"):
            await filled.create_model(replace(SHIFT, name=name))
        names = [model.name for model in await every(filled.list_models, 2)]
        assert names == ["Zebra", "alpha", "shift", "shift-2"]
        versions = await every(lambda asked: filled.list_versions("shift", asked), 2)
        assert [v.version for v in versions] == ["1", "2", "10"]

    async def test_only_the_stage_changes_and_the_etag_with_it(self, filled):
        before = await filled.get_version("shift", "1")
        after = await filled.set_stage("shift", "1", Stage.PRODUCTION, before.etag)
        assert after.etag != before.etag
        assert replace(after, stage=before.stage, etag=before.etag) == before
        await refused("ETAG_MISMATCH", filled.set_stage("shift", "1", Stage.ARCHIVED, before.etag), Conflict)
        back = await filled.set_stage("shift", "1", before.stage, "")
        assert back.etag not in (before.etag, after.etag)

    async def test_an_external_version_learns_what_it_came_without_once(self, filled):
        bare = model_version("5", digest="", signature=Signature(), max_batch_size=None)
        await filled.create_version(bare)
        await filled.learn("shift", "5", FOUR, 8)
        learned = await filled.get_version("shift", "5")
        assert (learned.signature, learned.max_batch_size) == (FOUR, 8)
        await filled.learn("shift", "5", Signature((TensorSpec("Z", "FP32", ()),), ()), 9)
        assert await filled.get_version("shift", "5") == learned

    async def test_the_registry_keeps_its_name(self, store):
        assert await store.registry_id()
        assert await store.registry_id() == await store.registry_id()


class TestServers:
    async def test_what_is_added_is_listed(self, store):
        assert await store.create_server(B) == B
        assert await store.create_server(A) == A
        assert await store.servers() == [A, B]
        assert await every(store.list_servers, 1) == [A, B]

    async def test_a_name_and_an_address_are_taken_once(self, store):
        await store.create_server(A)
        await refused("SERVER_EXISTS", store.create_server(replace(B, name="a")), AlreadyExists)
        await refused("SERVER_EXISTS", store.create_server(replace(B, address=A.address)), AlreadyExists)
        assert await store.servers() == [A]

    async def test_configured_servers_are_there_and_where_it_says(self, store):
        await store.create_server(B)
        await store.seed({"a": "h:1", "b": "h:2"}, {"a": "h:3"})
        await store.seed({"a": "h:2", "b": "h:1"}, {"a": "h:3"})
        found = await store.servers()
        assert [(s.name, s.address, s.metrics_address) for s in found] == [("a", "h:2", "h:3"), ("b", "h:1", "")]
        assert found[1].repository_path == "/models"

    async def test_what_is_observed_is_kept(self, store):
        await store.create_server(A)
        await store.observe_server("a", reachable=True, version="2.51.0")
        await store.observe_server("a", reachable=False, version="")
        assert await store.servers() == [replace(A, reachable=False, version="2.51.0")]

    async def test_a_server_in_use_stays(self, filled):
        deployment = await filled.create_deployment("shift", "1", ["a"], NOON)
        await filled.observe_server("a", reachable=True, version="")
        await refused("SERVER_IN_USE", filled.delete_server("a"), Precondition)
        await refused("SERVER_NOT_FOUND", filled.delete_server("c"), NotFound)
        await filled.delete_server("b")
        await filled.delete_deployment("shift", "1", LATER)
        await filled.delete_server("a")
        assert await filled.servers() == []
        gone = filled.get_deployment(deployment.model, deployment.version)
        await refused("DEPLOYMENT_NOT_FOUND", gone, NotFound)

    async def test_an_unreachable_server_is_taken_off_its_deployments(self, filled):
        both = await filled.create_deployment("shift", "1", [], NOON)
        await filled.create_deployment("shift", "2", ["a"], NOON)
        await filled.move([moved(both, "a", READY), moved(both, "b", READY)])
        await filled.observe_server("a", reachable=True, version="")
        await filled.observe_server("a", reachable=False, version="")
        await filled.delete_server("a")
        assert await filled.servers() == [B]
        left = await filled.get_deployment("shift", "1")
        assert [(p.server, p.state) for p in left.placements] == [("b", READY)]
        await refused("DEPLOYMENT_NOT_FOUND", filled.get_deployment("shift", "2"), NotFound)
        assert (await filled.deployed()).deployments == (left,)
        again = await filled.create_deployment("shift", "2", ["b"], NOON)
        assert [p.server for p in again.placements] == ["b"]

    async def test_one_leads(self, store):
        begun, end = asyncio.Event(), asyncio.Event()

        async def work():
            begun.set()
            await end.wait()

        async def nothing():
            raise AssertionError("two lead")

        leading = asyncio.create_task(store.lead(work))
        await begun.wait()
        assert await store.lead(nothing) is False
        end.set()
        assert await leading is True
        end.set()
        assert await store.lead(work) is True


class TestDeployments:
    async def test_a_version_is_wanted_on_every_server_or_on_those_that_are_named(self, filled):
        everywhere = await filled.create_deployment("shift", "1", [], NOON)
        assert [(p.server, p.address, p.state) for p in everywhere.placements] == [
            ("a", A.address, PENDING),
            ("b", B.address, PENDING),
        ]
        assert everywhere.create_time == everywhere.placements[0].update_time == NOON
        there = await filled.create_deployment("shift", "2", ["b"], NOON)
        assert [p.server for p in there.placements] == ["b"]
        assert await filled.get_deployment("shift", "1") == everywhere

    async def test_what_cannot_be_deployed(self, filled):
        create = filled.create_deployment
        await refused("MODEL_VERSION_NOT_FOUND", create("shift", "3", [], NOON), NotFound)
        await refused("MODEL_VERSION_NOT_FOUND", create("nobody", "1", [], NOON), NotFound)
        await refused("SERVER_NOT_FOUND", create("shift", "1", ["a", "c"], NOON), NotFound)
        await refused("DEPLOYMENT_NOT_FOUND", filled.get_deployment("shift", "1"), NotFound)
        await create("shift", "1", [], NOON)
        await refused("DEPLOYMENT_EXISTS", create("shift", "1", ["a"], NOON), AlreadyExists)

    async def test_without_servers_nothing_is_deployed(self, store):
        await store.create_model(SHIFT)
        await store.create_version(model_version())
        await refused("SERVER_NOT_FOUND", store.create_deployment("shift", "1", [], NOON), NotFound)

    async def test_lists_are_in_order_whatever_the_page(self, filled):
        await filled.create_model(replace(SHIFT, name="other"))
        await filled.create_version(model_version("1", model="other"))
        for model, version in (("shift", "10"), ("shift", "2"), ("other", "1"), ("shift", "1")):
            await filled.create_deployment(model, version, [], NOON)

        async def pages(model, size):
            found, token = [], ""
            while True:
                rows, token = await filled.list_deployments(model, page(size, token, keys=2))
                found += [(d.model, d.version) for d in rows]
                if not token:
                    return found

        of_shift = [("shift", "1"), ("shift", "2"), ("shift", "10")]
        for size in (1, 2, 100):
            assert await pages("", size) == [("other", "1"), *of_shift]
            assert await pages("shift", size) == of_shift

    async def test_a_placement_moves_from_what_it_was(self, filled):
        deployment = await filled.create_deployment("shift", "1", [], NOON)
        change, other = moved(deployment, "a", READY), moved(deployment, "b", FAILED)
        assert await filled.move([change]) == [change]
        assert await filled.move([change, other]) == [other]
        now = await filled.get_deployment("shift", "1")
        assert [(p.server, p.state, p.update_time) for p in now.placements] == [
            ("a", READY, LATER),
            ("b", FAILED, LATER),
        ]

    async def test_the_last_ready_placement_stays_where_that_is_asked_for(self, filled):
        first = await filled.create_deployment("shift", "1", [], NOON)
        await filled.move([moved(first, "a", READY), moved(first, "b", READY)])
        ready = await filled.get_deployment("shift", "1")
        later = LATER + timedelta(seconds=1)
        lost = [replace(moved(ready, server, PENDING, now=later), unless_last=True) for server in ("a", "b")]
        # as the loops of two servers do it, each on its own
        made = await asyncio.gather(*(filled.move([change]) for change in lost))
        assert sorted(map(len, made)) == [0, 1]
        now = await filled.get_deployment("shift", "1")
        assert sorted(p.state.value for p in now.placements) == ["pending", "ready"]
        last = next(p for p in now.placements if p.state is READY)
        assert await filled.move([moved(now, last.server, PENDING, now=later)])

    async def test_refusals_are_remembered(self, filled):
        deployment = await filled.create_deployment("shift", "1", ["a"], NOON)
        before = deployment.placements[0]
        refusal = before.refused(LATER, "its words").refused(LATER, "its words")
        assert await filled.move([Change(("shift", "1"), before, refusal)])
        (wanted,) = await filled.wanted("a")
        assert wanted.placement == refusal
        assert (refusal.attempts, refusal.retry_time) == (2, LATER + timedelta(seconds=2))

    async def test_a_server_is_told_what_it_should_have(self, filled):
        await filled.create_deployment("shift", "10", [], NOON)
        await filled.create_deployment("shift", "2", ["a"], NOON)
        assert [w.key for w in await filled.wanted("a")] == [("shift", "2"), ("shift", "10")]
        (only,) = await filled.wanted("b")
        assert only.version == await filled.get_version("shift", "10")
        assert await filled.wanted("c") == []

    async def test_what_is_deleted_is_gone_with_its_last_placement(self, filled):
        deployment = await filled.create_deployment("shift", "1", [], NOON)
        await filled.move([moved(deployment, "a", READY)])
        deleting = await filled.delete_deployment("shift", "1", LATER)
        assert deleting.deleting
        assert {(p.state, p.update_time) for p in deleting.placements} == {(UNLOADING, LATER)}
        assert await filled.delete_deployment("shift", "1", LATER + timedelta(seconds=9)) == deleting
        with pytest.raises(AlreadyExists, match="still being taken off"):
            await filled.create_deployment("shift", "1", [], NOON)
        first, second = deleting.placements
        assert await filled.move([Change(("shift", "1"), first, None)])
        assert [p.server for p in (await filled.get_deployment("shift", "1")).placements] == ["b"]
        assert await filled.move([Change(("shift", "1"), second, None)])
        await refused("DEPLOYMENT_NOT_FOUND", filled.get_deployment("shift", "1"), NotFound)
        await refused("DEPLOYMENT_NOT_FOUND", filled.delete_deployment("shift", "1", LATER), NotFound)

    async def test_two_servers_forget_it_at_once(self, filled):
        for _ in range(10):
            await filled.create_deployment("shift", "1", [], NOON)
            deleting = await filled.delete_deployment("shift", "1", LATER)
            forget = [filled.move([Change(("shift", "1"), p, None)]) for p in deleting.placements]
            assert all(await asyncio.gather(*forget))
            await refused("DEPLOYMENT_NOT_FOUND", filled.get_deployment("shift", "1"), NotFound)
            assert (await filled.deployed()).versions == ()

    async def test_a_deletion_wins_over_what_the_loop_decided_before(self, filled):
        deployment = await filled.create_deployment("shift", "1", ["a"], NOON)
        await filled.delete_deployment("shift", "1", LATER)
        assert not await filled.move([moved(deployment, "a", READY)])
        assert (await filled.get_deployment("shift", "1")).placements[0].state is UNLOADING

    async def test_everything_that_is_deployed_at_once(self, filled):
        two = await filled.create_deployment("shift", "10", [], NOON)
        one = await filled.create_deployment("shift", "1", ["b"], NOON)
        everything = await filled.deployed()
        assert everything.deployments == (one, two)
        assert {v.version for v in everything.versions} == {"1", "10"}
        assert everything.servers == (A, B)
