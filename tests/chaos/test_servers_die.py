"""Under 32 callers without retries: a Triton is killed, a Triton hangs; the callers hardly notice."""

import json
import urllib.request

import pytest

from tests.chaos.load import CALLERS, load
from tests.polling import eventually
from tests.serving import await_servers, servers

OFF_SECONDS, BACK_SECONDS = 5, 10


def sent_to(stack, server):
    """Requests that Envoy has sent to a Triton so far."""
    return requests_of(stack, stack.ports[f"triton_{server}_grpc"])


def requests_of(stack, port):
    """What Envoy has sent to this port so far, over all its clusters."""
    url = f"http://{stack.address('envoy_admin')}/clusters?format=json"
    with urllib.request.urlopen(url, timeout=5) as answer:
        clusters = json.load(answer)["cluster_statuses"]
    return sum(
        int(stat.get("value", 0))
        for cluster in clusters
        for host in cluster.get("host_statuses", ())
        if host["address"].get("socket_address", {}).get("port_value") == port
        for stat in host["stats"]
        if stat["name"] == "rq_total"
    )


def quiet(stack, server, seen):
    """Whether the server got nothing while the callers got two hundred answers."""
    before, answered = sent_to(stack, server), seen.calls
    eventually(lambda: seen.calls > answered + 200, message="callers go on")
    return sent_to(stack, server) == before


@pytest.fixture(autouse=True)
def both_serve(stack, penstock, model):
    """A Triton that was stopped may end after it goes on: what an earlier test has done to one is over."""
    for server in ("triton-a", "triton-b"):
        stack.wait_ready(server, within=60)
    await_servers(penstock, model, 2, within=BACK_SECONDS)


def await_back(stack, penstock, model, server, seen):
    """Both servers are in the policy and this one has calls, ten seconds from now at the latest.

    A Triton that was stopped may end when it goes on (2.51 does at times): then its return is that of its successor.
    """
    part = f"triton-{server}"
    before = stack.process(part)

    def back():
        return servers(penstock, model) == 2 and not quiet(stack, server, seen)

    try:
        eventually(back, within=BACK_SECONDS)
    except AssertionError:
        if stack.ready(part) and stack.process(part) == before:
            raise
        stack.wait_ready(part, within=60)
        eventually(back, within=BACK_SECONDS, message="it takes traffic again")


def test_a_killed_server_fails_no_call(stack, penstock, model):
    with load(stack.address("ingress"), model, "killed") as seen:
        eventually(lambda: seen.succeeded > 1000)
        stack.kill("triton-a")
        eventually(lambda: quiet(stack, "a", seen), within=OFF_SECONDS, message="traffic is off the dead server")
        eventually(lambda: stack.ready("triton-a"), within=60, message="the supervisor brings it back")
        await_back(stack, penstock, model, "a", seen)
    assert seen.failures == []


def test_a_server_that_hangs_fails_at_most_the_calls_in_flight(stack, penstock, model):
    with load(stack.address("ingress"), model, "hung") as seen:
        eventually(lambda: seen.succeeded > 1000)
        stack.suspend("triton-b")
        try:
            eventually(lambda: quiet(stack, "b", seen), within=OFF_SECONDS, message="traffic is off the hung server")
        finally:
            stack.resume("triton-b")
        await_back(stack, penstock, model, "b", seen)
    assert seen.failed <= CALLERS, seen.failures[:5]


def test_a_server_that_restarts_empty_takes_traffic_only_for_what_it_has(stack, penstock, model):
    """Triton answers NOT_FOUND for a version that is not loaded; no caller may ever see that."""
    with load(stack.address("ingress"), model, "empty") as seen:
        eventually(lambda: seen.succeeded > 500)
        stack.kill("triton-b")
        eventually(lambda: stack.ready("triton-b"), within=60)
        await_back(stack, penstock, model, "b", seen)
    assert seen.failures == []
