"""Versions get onto real Tritons, stay there, and come back."""

import asyncio
import shutil
from contextlib import asynccontextmanager, suppress

import grpc
import pytest
from onnx import TensorProto, helper
from tritonclient.grpc import service_pb2, service_pb2_grpc

from deploy.triton.backend import ONNX_MODEL
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.deployment_pb2 import Deployment, Placement, Server
from tests.integration.model_serving.conftest import (
    SECONDS,
    deploy,
    deploy_shift,
    deployment,
    gone,
    reaches,
    register,
    serving,
)
from tests.models import answered_by, infer_request, shift
from tests.polling import eventually_async

PENDING, LOADING, READY = Placement.STATE_PENDING, Placement.STATE_LOADING, Placement.STATE_READY


def seeds(tritons):
    return ",".join(f"{name}={tritons.address(f'triton_{name}_grpc')}" for name in "ab")


@pytest.fixture
async def on_both(fresh_database, tmp_path, empty_tritons):
    """A replica in charge of both Tritons; files travel as bytes."""
    async with serving(fresh_database, tmp_path, PENSTOCK_TRITON_SERVERS=seeds(empty_tritons)) as running:
        yield running


@pytest.fixture
async def with_folder(fresh_database, tmp_path, empty_tritons):
    """A replica in charge of Triton a, whose repository it can write."""
    async with serving(fresh_database, tmp_path) as running:
        repository = str(empty_tritons.repository("a"))
        server = Server(name="a", address=empty_tritons.address("triton_a_grpc"), repository_path=repository)
        await running.deployments.CreateServer(dep.CreateServerRequest(server=server), timeout=SECONDS)
        yield running


@pytest.fixture
async def empty_tritons(tritons):
    """Whatever another test left loaded is unloaded first."""
    for name in ("a", "b"):
        await asyncio.to_thread(tritons.wait_ready, f"triton-{name}")
        async with control(tritons, name) as stub:
            loaded = await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(), timeout=SECONDS)
            for model in {stats.name for stats in loaded.model_stats}:
                await stub.RepositoryModelUnload(
                    service_pb2.RepositoryModelUnloadRequest(model_name=model), timeout=SECONDS
                )
    return tritons


@asynccontextmanager
async def control(tritons, name):
    async with grpc.aio.insecure_channel(tritons.address(f"triton_{name}_grpc")) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


@asynccontextmanager
async def callers(tritons, model, version, count=6):
    """Calls a version all the time, without retries; yields what failed and how many were answered."""
    failed, answered, end = [], [], asyncio.Event()

    async def call(stub):
        while not end.is_set():
            try:
                answer = await stub.ModelInfer(infer_request(model, version), timeout=SECONDS)
            except grpc.aio.AioRpcError as error:
                failed.append(f"{error.code().name} {error.details()}")
            else:
                answered.append(answered_by(answer))

    async with control(tritons, "a") as stub:
        calling = [asyncio.create_task(call(stub)) for _ in range(count)]
        await eventually_async(lambda: answered, message="the first answer")
        yield failed, answered
        end.set()
        await asyncio.gather(*calling)


async def ask(tritons, name, model, version):
    async with control(tritons, name) as stub:
        return answered_by(await stub.ModelInfer(infer_request(model, version), timeout=SECONDS))


async def delete(replica, model, version):
    # nobody is here who could be asked whether it is in use
    asked = dep.DeleteDeploymentRequest(model=model, version=str(version), force=True)
    return (await replica.deployments.DeleteDeployment(asked, timeout=SECONDS)).deployment


async def loaded(tritons, name, model):
    async with control(tritons, name) as stub:
        answer = await stub.ModelStatistics(service_pb2.ModelStatisticsRequest(), timeout=SECONDS)
        return {stats.version for stats in answer.model_stats if stats.name == model}


def unknown_operator():
    """A well-formed ONNX file that no runtime can run."""
    graph = helper.make_graph(
        [helper.make_node("Frobnicate", ["X"], ["Y"])],
        "broken",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", 4])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


async def test_versions_are_served_by_every_server(on_both, tritons):
    await deploy_shift(on_both, "served", 1, 2)
    for name in ("a", "b"):
        for version in ("1", "2"):
            assert await ask(tritons, name, "served", version) == version
    listed = await on_both.deployments.ListServers(dep.ListServersRequest(), timeout=SECONDS)
    assert [(s.name, s.reachable, s.server_version) for s in listed.servers] == [
        ("a", True, "2.51.0"),
        ("b", True, "2.51.0"),
    ]


@pytest.fixture(params=["on_both", "with_folder"])
def either_way(request):
    return request.param, request.getfixturevalue(request.param)


async def test_loading_and_dropping_others_costs_a_version_no_call(either_way, tritons):
    way, replica = either_way
    await deploy_shift(replica, way, 1)
    async with callers(tritons, way, "1") as (failed, answered):
        await deploy_shift(replica, way, 2)
        await deploy_shift(replica, way, 3, 4)
        await delete(replica, way, 2)
        await gone(replica, way, 2)
        await register(replica, way, 5, unknown_operator())
        await deploy(replica, way, 5, "a")
        await reaches(replica, way, 5, "FAILED")
        await delete(replica, way, 5)
        await gone(replica, way, 5)
    assert failed == []
    assert set(answered) == {"1"}
    assert await loaded(tritons, "a", way) == {"1", "3", "4"}


async def test_a_refused_version_says_why_in_the_servers_words_and_costs_the_others_nothing(on_both, tritons):
    await register(on_both, "mixed", 1, shift(1))
    await register(on_both, "mixed", 2, unknown_operator())
    await register(on_both, "mixed", 3, shift(3))
    for version in (1, 2, 3):
        await deploy(on_both, "mixed", version)
    refused = await reaches(on_both, "mixed", 2, "FAILED")
    assert refused.state == Deployment.STATE_FAILED
    assert "Frobnicate" in refused.placements[0].message
    await reaches(on_both, "mixed", 1, "READY")
    await reaches(on_both, "mixed", 3, "READY")


async def test_a_killed_server_gets_its_models_back_and_is_ready_only_then(on_both, tritons):
    await deploy_shift(on_both, "killed", 1, 2)
    tritons.kill("triton-a")
    lost = await reaches(on_both, "killed", 1, "PENDING", "READY", within=10)
    assert lost.state == Deployment.STATE_PARTIAL
    watched = on_both.deployments.WatchDeployments(dep.WatchDeploymentsRequest())
    seen_without = False
    async for part in watched:
        ready = {d.version for d in part.deployments for p in d.placements if p.server == "a" and p.state == READY}
        seen_without = seen_without or not ready
        for version in ready if seen_without else ():
            assert await ask(tritons, "a", "killed", version) == version
        if seen_without and ready == {"1", "2"}:
            break
    watched.cancel()


async def reachable(replica):
    listed = await replica.deployments.ListServers(dep.ListServersRequest(), timeout=SECONDS)
    return {server.name for server in listed.servers if server.reachable}


@asynccontextmanager
async def recording(replica):
    """Every snapshot that the watch gives once version 1 is everywhere: by version, the servers where it is READY."""
    seen = []

    async def read():
        async for part in replica.deployments.WatchDeployments(dep.WatchDeploymentsRequest()):
            ready = {d.version: {p.server for p in d.placements if p.state == READY} for d in part.deployments}
            seen.append(ready)

    task = asyncio.create_task(read())
    await eventually_async(lambda: seen and seen[-1]["1"] == {"a", "b"}, message="version 1 is announced")
    del seen[:-1]
    yield seen
    task.cancel()
    await asyncio.wait([task])


async def test_servers_that_all_hang_keep_their_traffic(on_both, tritons):
    """A hung server is for health_monitoring to see, which asks as Envoy does and never takes the last one out."""
    await deploy_shift(on_both, "hung", 1)
    async with recording(on_both) as seen:
        for name in ("triton-a", "triton-b"):
            tritons.suspend(name)
        try:

            async def none_answers():
                return not await reachable(on_both)

            await eventually_async(none_answers, within=SECONDS, message="the loops notice")
            await register(on_both, "hung", 2, shift(2))
            await deploy(on_both, "hung", 2)

            async def waits():
                placements = (await deployment(on_both, "hung", 2)).placements
                return all("does not answer" in placement.message for placement in placements)

            await eventually_async(waits, within=SECONDS, message="what is not there yet says why")
        finally:
            for name in ("triton-a", "triton-b"):
                tritons.resume(name)
        await reaches(on_both, "hung", 2, "READY")
    assert {frozenset(snapshot["1"]) for snapshot in seen} == {frozenset("ab")}


class Relay:
    """A door to a server that can be shut: whoever knocks is refused."""

    def __init__(self, target):
        self._target = target.rpartition(":")
        self._server = None
        self._writers = []
        self._port = 0

    async def open(self):
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return f"127.0.0.1:{self._port}"

    async def shut(self):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await self._server.wait_closed()

    async def _forward(self, reader, writer):
        host, _, port = self._target
        behind, to_behind = await asyncio.open_connection(host, int(port))
        self._writers += [writer, to_behind]
        await asyncio.gather(self._copy(reader, to_behind), self._copy(behind, writer))

    async def _copy(self, reader, writer):
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_cut_off_from_all_servers_it_leaves_each_version_somewhere_to_go(fresh_database, tmp_path, empty_tritons):
    relays = {name: Relay(empty_tritons.address(f"triton_{name}_grpc")) for name in "ab"}
    doors = [f"{name}={await relay.open()}" for name, relay in relays.items()]
    async with serving(fresh_database, tmp_path, PENSTOCK_TRITON_SERVERS=",".join(doors)) as running:
        await deploy_shift(running, "cut", 1)
        async with recording(running) as seen:
            for relay in relays.values():
                await relay.shut()

            async def none_answers():
                return not await reachable(running)

            await eventually_async(none_answers, within=SECONDS, message="the loops notice")
            await eventually_async(lambda: len(seen[-1]["1"]) == 1, message="the last one is left")
            assert all(snapshot["1"] for snapshot in seen)
            (last,) = seen[-1]["1"]
            # a server that comes back empty is caught at its first answer, also where it was the last
            async with control(empty_tritons, last) as stub:
                unload = service_pb2.RepositoryModelUnloadRequest(model_name="cut")
                await stub.RepositoryModelUnload(unload, timeout=SECONDS)
            cut = len(seen)
            await relays[last].open()
            await eventually_async(lambda: not all(s["1"] for s in seen[cut:]), message="empty, hence not ready")
            await eventually_async(lambda: seen[-1]["1"] == {last}, within=SECONDS, message="loaded again")
            assert await ask(empty_tritons, last, "cut", "1") == "1"
            (other,) = {"a", "b"} - {last}
            await relays[other].open()
            await reaches(running, "cut", 1, "READY")
    for relay in relays.values():
        await relay.shut()


async def test_a_stopped_server_stalls_no_other(on_both, tritons):
    await deploy_shift(on_both, "stopped", 1)
    tritons.suspend("triton-a")
    try:
        await register(on_both, "stopped", 2, shift(2))
        await deploy(on_both, "stopped", 2)
        await reaches(on_both, "stopped", 2, "PENDING", "READY")
    finally:
        tritons.resume("triton-a")
    for version in (1, 2):
        await reaches(on_both, "stopped", version, "READY")


async def test_traffic_leaves_before_the_model_is_unloaded(on_both, tritons):
    await deploy_shift(on_both, "leaving", 1)
    deleting = await delete(on_both, "leaving", 1)
    assert deleting.state == Deployment.STATE_DELETING
    assert {placement.state for placement in deleting.placements} == {Placement.STATE_UNLOADING}
    assert await loaded(tritons, "a", "leaving") == {"1"}
    await gone(on_both, "leaving", 1)
    assert await loaded(tritons, "a", "leaving") == await loaded(tritons, "b", "leaving") == set()
    await deploy(on_both, "leaving", 1)
    await reaches(on_both, "leaving", 1, "READY")


async def test_a_servers_folder_holds_what_is_deployed(with_folder, tritons):
    await deploy_shift(with_folder, "folder", 1, 2)
    folder = tritons.repository("a") / "folder"
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["1", "2"]
    assert (folder / "2" / "model.onnx").read_bytes() == shift(2)
    await delete(with_folder, "folder", 1)
    await gone(with_folder, "folder", 1)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["2"]
    await delete(with_folder, "folder", 2)
    await gone(with_folder, "folder", 2)
    assert not folder.exists()


@pytest.fixture
def own_model(tritons):
    """A model in the repository of Triton a that Penstock did not put there."""
    folder = tritons.repository("a") / "own"
    (folder / "7").mkdir(parents=True)
    (folder / "7" / "model.onnx").write_bytes(shift(7))
    (folder / "config.pbtxt").write_text(
        'backend: "onnxruntime" max_batch_size: 16'
        ' input [{ name: "X" data_type: TYPE_FP32 dims: [4] }] output [{ name: "Y" data_type: TYPE_FP32 dims: [4] }]'
    )
    yield "own"
    shutil.rmtree(folder)


async def test_a_model_of_the_servers_own_is_asked_to_load_and_tells_its_signature(with_folder, tritons, own_model):
    bare = await register(with_folder, own_model, 7, None, external=True)
    assert not bare.signature.inputs
    await deploy(with_folder, own_model, 7)
    await reaches(with_folder, own_model, 7, "READY")
    asked = reg.GetModelVersionRequest(model=own_model, version="7")
    learned = (await with_folder.models.GetModelVersion(asked, timeout=SECONDS)).model_version
    assert [(t.name, t.datatype, list(t.shape)) for t in learned.signature.inputs] == [("X", "FP32", [4])]
    assert learned.max_batch_size == 16
    await register(with_folder, own_model, 8, None, external=True)
    await deploy(with_folder, own_model, 8)
    refused = await reaches(with_folder, own_model, 8, "FAILED")
    assert "does not serve version 8" in refused.placements[0].message
    assert await ask(tritons, "a", own_model, "7") == "7"
    await delete(with_folder, own_model, 7)
    await delete(with_folder, own_model, 8)
    await gone(with_folder, own_model, 7)


async def test_a_model_that_somebody_else_loaded_is_left_alone(on_both, tritons, own_model):
    async with control(tritons, "a") as stub:
        await stub.RepositoryModelLoad(service_pb2.RepositoryModelLoadRequest(model_name=own_model), timeout=SECONDS)
    await register(on_both, own_model, 1, shift(1))
    await deploy(on_both, own_model, 1, "a")
    refused = await reaches(on_both, own_model, 1, "FAILED")
    assert "did not load" in refused.placements[0].message
    assert await ask(tritons, "a", own_model, "7") == "7"


async def test_a_folder_that_somebody_else_filled_is_left_alone(with_folder, tritons, own_model):
    await register(with_folder, own_model, 1, shift(1))
    await deploy(with_folder, own_model, 1)
    refused = await reaches(with_folder, own_model, 1, "FAILED")
    assert "did not put there" in refused.placements[0].message
    assert not (tritons.repository("a") / own_model / "1").exists()


@pytest.mark.parametrize("folder", [False, True], ids=["bytes", "files"])
async def test_a_server_that_has_only_the_python_backend(fresh_database, tmp_path, empty_tritons, folder):
    runner = {"PENSTOCK_ONNX_BACKEND": "python", "PENSTOCK_ONNX_RUNNER": str(ONNX_MODEL)}
    async with serving(fresh_database, tmp_path, **runner) as running:
        path = str(empty_tritons.repository("b")) if folder else ""
        server = Server(name="b", address=empty_tritons.address("triton_b_grpc"), repository_path=path)
        await running.deployments.CreateServer(dep.CreateServerRequest(server=server), timeout=SECONDS)
        await deploy_shift(running, "python", 1, 2)
        assert await ask(empty_tritons, "b", "python", "2") == "2"
        async with control(empty_tritons, "b") as stub:
            config = await stub.ModelConfig(service_pb2.ModelConfigRequest(name="python"), timeout=SECONDS)
        assert config.config.backend == "python"


async def first_snapshot(replica):
    watch = replica.deployments.WatchDeployments(dep.WatchDeploymentsRequest(), timeout=SECONDS)
    async for part in watch:
        watch.cancel()
        return part
    raise AssertionError("the watch ended")


async def all_ready(replica):
    snapshot = await first_snapshot(replica)
    states = {placement.state for found in snapshot.deployments for placement in found.placements}
    return snapshot if states == {READY} else None


async def test_a_restart_changes_nothing_that_is_published(fresh_database, tmp_path, empty_tritons):
    servers = {"PENSTOCK_TRITON_SERVERS": seeds(empty_tritons)}
    async with serving(fresh_database, tmp_path, **servers) as before:
        await deploy_shift(before, "restarted", 1)
        said = await eventually_async(lambda: all_ready(before), message="the watch says so too")
    async with serving(fresh_database, tmp_path, **servers) as after:
        assert (await first_snapshot(after)).revision == said.revision
        watch = after.deployments.WatchDeployments(
            dep.WatchDeploymentsRequest(last_revision=said.revision), timeout=SECONDS
        )
        assert (await watch.read()).unchanged
        watch.cancel()


async def test_a_server_that_lost_its_models_while_nobody_looked_is_not_published_as_ready(
    fresh_database, tmp_path, empty_tritons
):
    servers = {"PENSTOCK_TRITON_SERVERS": seeds(empty_tritons)}
    async with serving(fresh_database, tmp_path, **servers) as before:
        await deploy_shift(before, "forgotten", 1)
    async with control(empty_tritons, "a") as stub:
        await stub.RepositoryModelUnload(
            service_pb2.RepositoryModelUnloadRequest(model_name="forgotten"), timeout=SECONDS
        )
    async with serving(fresh_database, tmp_path, **servers) as after:
        (found,) = (await first_snapshot(after)).deployments
        a, b = found.placements
        assert a.state in (PENDING, LOADING) or await ask(empty_tritons, "a", "forgotten", "1") == "1"
        assert b.state == READY
        await reaches(after, "forgotten", 1, "READY")


async def test_replicas_say_the_same_and_another_takes_over(fresh_database, tmp_path, empty_tritons):
    servers = {"PENSTOCK_TRITON_SERVERS": seeds(empty_tritons)}
    async with serving(fresh_database, tmp_path, **servers) as second:
        async with serving(fresh_database, tmp_path, **servers) as first:
            await deploy_shift(first, "shared", 1)

            async def same():
                return (await first_snapshot(first)).revision == (await first_snapshot(second)).revision

            await eventually_async(same, message="both replicas publish the same")
        async with serving(fresh_database, tmp_path, **servers) as third:
            await deploy_shift(third, "shared", 2)
            assert (await deployment(second, "shared", 2)).state == Deployment.STATE_READY


async def test_a_server_that_is_forgotten_is_left_as_it_is(on_both, tritons):
    await deploy_shift(on_both, "forgetful", 1)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await on_both.deployments.DeleteServer(dep.DeleteServerRequest(name="a"), timeout=SECONDS)
    assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    await delete(on_both, "forgetful", 1)
    await gone(on_both, "forgetful", 1)
    await on_both.deployments.DeleteServer(dep.DeleteServerRequest(name="a"), timeout=SECONDS)
    listed = await on_both.deployments.ListServers(dep.ListServersRequest(), timeout=SECONDS)
    assert [server.name for server in listed.servers] == ["b"]
