"""Under 32 callers without retries, one of two servers goes wrong: it fails, it hangs, it is slow."""

import pytest

from benchmarks.faults.server import HALF, HANGING, SLOW, WELL, faulty_server
from deploy.local.ports import Ports
from penstock.model_serving.v1 import deployment_service_pb2 as dep
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.deployment_pb2 import Deployment, Server
from penstock.model_serving.v1.model_pb2 import Model
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import Route
from tests.chaos.load import load
from tests.chaos.test_servers_die import requests_of
from tests.polling import eventually
from tests.serving import await_servers, register_shift

MODEL = "shaky"
OFF_SECONDS, BACK_SECONDS = 15, 45
MOST_FAILED = 0.01


@pytest.fixture(scope="module")
def faulty(stack, penstock):
    """A server of its own in Penstock's eyes, which leads to Triton b; the model is on it and on a."""
    port = Ports.free()["redis"]
    with faulty_server(f"127.0.0.1:{port}", stack.address("triton_b_grpc")) as server:
        added = Server(name="shaky", address=server.address, repository_path=str(stack.repository("b")))
        penstock.deployments.CreateServer(dep.CreateServerRequest(server=added))
        penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name=MODEL)))
        register_shift(penstock, MODEL, 1)
        wanted = Deployment(model=MODEL, version="1", servers=["a", "shaky"])
        penstock.deployments.CreateDeployment(dep.CreateDeploymentRequest(deployment=wanted))
        penstock.routing.CreateRoute(rt.CreateRouteRequest(route=Route(model=MODEL, default_version="1")))
        await_servers(penstock, MODEL, 2)
        yield server
    # it is gone: whoever deploys on every server must not wait for it
    eventually(
        lambda: penstock.deployments.DeleteServer(dep.DeleteServerRequest(name="shaky")).IsInitialized(), within=30
    )


@pytest.fixture
def well(faulty, penstock):
    """Both servers take calls, before and after."""
    await_servers(penstock, MODEL, 2, within=BACK_SECONDS)
    yield faulty
    faulty.become(WELL)
    await_servers(penstock, MODEL, 2, within=BACK_SECONDS)


def sent_to(stack, server):
    return requests_of(stack, int(server.address.rpartition(":")[2]))


def through(seen, calls):
    reached = seen.calls
    eventually(lambda: seen.calls > reached + calls, within=60, message="callers go on")


def test_a_server_that_fails_half_its_calls_fails_hardly_any_of_the_callers(stack, well):
    with load(stack.address("ingress"), MODEL, "half") as seen:
        through(seen, 500)
        before = sent_to(stack, well)
        well.become(HALF)
        through(seen, 5000)
        assert sent_to(stack, well) > before
    assert seen.failed <= MOST_FAILED * seen.calls, seen.failures[:5]


def test_a_server_that_accepts_and_never_answers_is_left(stack, well):
    def quiet():
        before = sent_to(stack, well)
        through(seen, 300)
        return sent_to(stack, well) == before

    with load(stack.address("ingress"), MODEL, "hanging") as seen:
        through(seen, 1000)
        well.become(HANGING)
        eventually(quiet, within=OFF_SECONDS, message="traffic is off the server that hangs")
        through(seen, 3000)
    assert seen.failed <= MOST_FAILED * seen.calls, seen.failures[:5]


def test_a_slow_server_fails_nobody(stack, well):
    with load(stack.address("ingress"), MODEL, "slow") as seen:
        through(seen, 500)
        well.become(SLOW)
        through(seen, 2000)
    assert seen.failures == []
