"""An Envoy that starts while no routing answers has the last policy that it acknowledged, and follows routing again."""

import json
import resource
import sqlite3
import urllib.request
from dataclasses import replace
from types import MappingProxyType

from services.routing.domain.policy import Deployment, Route
from services.routing.domain.snapshot import Resource
from services.routing.xds.access import FILTER
from services.routing.xds.resources import CDS, ECDS, compile_snapshot
from tests.integration.dataplane import models
from tests.integration.dataplane.load import under_load
from tests.integration.dataplane.test_edge import CALLER, ENGINEER, KEYS, STRANGER, key
from tests.polling import eventually

START_SECONDS = 20
FOLLOW_SECONDS = 10


def shelf(plane):
    return plane.stack.places.data("keeper") / "policy.sqlite"


def kept(plane):
    """Type and name of each kept resource, and its version."""
    with sqlite3.connect(f"file:{shelf(plane)}?mode=ro", uri=True) as database:
        return {
            (url, name): version for url, name, version in database.execute("SELECT type, name, version FROM resource")
        }


def resources(snapshot):
    """Those that an Envoy asks for which does not look at tokens."""
    asked = {**snapshot.resources, ECDS: {FILTER: snapshot.resources[ECDS][FILTER]}}
    return {(url, name): r.version for url, named in asked.items() for name, r in named.items()}


def await_kept(plane, snapshot):
    """Exactly this policy: clusters that no route names any more go a little later."""
    wanted = resources(snapshot)
    eventually(lambda: kept(plane) == wanted, message="the policy is kept, and nothing else")


def start_again(plane, part="envoy"):
    before = plane.stack.process(part)
    plane.stack.kill(part)
    plane.stack.wait_ready(part, START_SECONDS, unless=before)


def answers(channel, version):
    eventually(
        lambda: models.call(channel).version == version, within=FOLLOW_SECONDS, message=f"version {version} answers"
    )


def listeners(plane):
    """How often Envoy has changed a listener, or drained one."""
    url = f"http://{plane.stack.address('envoy_admin')}/stats?filter=listener_manager&format=json"
    with urllib.request.urlopen(url) as page:
        found = {each["name"]: each["value"] for each in json.load(page)["stats"] if "name" in each}
    wanted = ("listener_modified", "listener_removed", "total_listeners_draining")
    return [found[f"listener_manager.{what}"] for what in wanted]


def test_a_policy_that_envoy_runs_is_kept_whole_and_for_nobody_else(plane):
    for inputs in (plane.inputs(routes=(Route("m", "1"), Route("gone", "1"))), plane.inputs()):
        snapshot = plane.apply(inputs)
    await_kept(plane, snapshot)
    assert {file.stat().st_mode & 0o777 for file in shelf(plane).parent.iterdir() if file.is_file()} == {0o600}


def test_an_envoy_that_starts_without_routing_serves_the_last_policy_and_then_follows(plane):
    passing = (Route("m", "1"), Route("gone", "1"))
    plane.apply(
        plane.inputs(routes=passing, deployments=(*plane.inputs().deployments, Deployment("gone", "1", ("a",))))
    )
    plane.stop_ads()
    start_again(plane)
    with plane.channel() as ingress:
        answers(ingress, "1")
        assert models.call(ingress, models.request(version="3")).code == "INTERNAL", "all of the policy is there"
        with under_load(plane, callers=4) as load:
            load.wait_for(100)
            plane.serve_ads()
            load.wait_for(100)
            snapshot = plane.apply(plane.inputs(routes=(Route("m", "2"),)))
            answers(ingress, "2")
        assert load.codes() == {"OK": len(load.calls)}
        assert "has no route" in models.call(ingress, models.request("gone")).text
    assert listeners(plane) == [0, 0, 0]
    await_kept(plane, snapshot)


def test_an_envoy_that_starts_without_routing_asks_for_the_same_keys(plane):
    plane.apply(plane.inputs(keys=KEYS), authentication=True)
    plane.stop_ads()
    start_again(plane)
    with plane.channel() as ingress:
        known = eventually(lambda: models.call(ingress, metadata=[key(CALLER)]), within=FOLLOW_SECONDS)
        assert known.code == "OK"
        assert models.call(ingress, metadata=[key(STRANGER)]).code == "UNAUTHENTICATED"
        plane.serve_ads()
        plane.apply(plane.inputs(keys=KEYS[1:]), authentication=True)
        assert models.call(ingress, metadata=[key(CALLER)]).code == "UNAUTHENTICATED", "revoked meanwhile"


def test_a_routing_without_a_policy_takes_nothing_from_an_envoy_that_starts(plane):
    plane.stop_ads()
    plane.serve_ads()
    start_again(plane)
    with plane.channel() as ingress:
        answers(ingress, "1")
        plane.apply(plane.inputs(routes=(Route("m", "2"),)))
        answers(ingress, "2")


def test_an_envoy_that_runs_keeps_its_policy_whatever_dies_beside_it(plane, ingress):
    with under_load(plane, callers=4) as load:
        plane.stop_ads()
        start_again(plane, "keeper")
        load.wait_for(200)
        plane.serve_ads()
        plane.apply(plane.inputs(routes=(Route("m", "2"),)))
        answers(ingress, "2")
        start_again(plane, "keeper")
        plane.apply(plane.inputs(routes=(Route("m", "1"),)))
        answers(ingress, "1")
    assert load.codes() == {"OK": len(load.calls)}


def test_what_is_lost_on_disk_is_kept_again_once_the_keeper_is_back(plane):
    snapshot = plane.apply(plane.inputs())
    with plane.stack.held_down("keeper"):
        for file in shelf(plane).parent.glob("policy.sqlite*"):
            file.unlink()
    plane.stack.wait_ready("keeper", START_SECONDS)
    await_kept(plane, snapshot)


def test_a_key_that_was_revoked_while_the_disk_was_full_is_good_nowhere(plane):
    """Nothing was kept since: an Envoy that starts then has no policy rather than one with that key in it."""
    await_kept(plane, plane.apply(plane.inputs(keys=KEYS), authentication=True))
    pid = plane.stack.pid("keeper")
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        snapshot = plane.apply(plane.inputs(keys=KEYS[1:]), authentication=True)
        eventually(lambda: not shelf(plane).exists(), message="what is out of date is gone")
        with plane.channel() as ingress:
            assert models.call(ingress, metadata=[key(ENGINEER)]).code == "OK", "the policy passes all the same"
        plane.stop_ads()
        start_again(plane, "keeper")  # with room on its disk
        old = plane.stack.process("envoy")
        plane.stack.kill("envoy")
        eventually(lambda: plane.stack.alive("envoy") and plane.stack.process("envoy") != old, within=START_SECONDS)
        eventually(lambda: listeners(plane) == [0, 0, 0], message="Envoy's admin endpoint is there")
        with plane.channel() as ingress:
            assert models.call(ingress, metadata=[key(CALLER)]).code == "UNAVAILABLE"
        assert not kept(plane)
    finally:
        if plane.stack.pid("keeper") == pid:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    plane.serve_ads()
    plane.publish(snapshot)
    await_kept(plane, snapshot)
    plane.stack.wait_ready("envoy", START_SECONDS)


def test_when_the_disk_has_room_again_all_is_kept_by_itself(plane):
    await_kept(plane, plane.apply(plane.inputs()))
    pid = plane.stack.pid("keeper")
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        snapshot = plane.apply(plane.inputs(routes=(Route("m", "2"),)))
        eventually(lambda: not shelf(plane).exists())
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    eventually(shelf(plane).exists)
    await_kept(plane, snapshot)


def test_what_envoy_refuses_is_not_kept(plane, ingress):
    good = plane.apply(plane.inputs())
    await_kept(plane, good)
    bad = compile_snapshot(plane.inputs(routes=(Route("m", "2"),)))
    name, broken = "bad", Resource.of(b"\x0a\x03bad\x10\x63")  # a cluster of a type that does not exist
    clusters = {**bad.resources[CDS], name: broken}
    plane.publish(replace(bad, resources=MappingProxyType({**bad.resources, CDS: clusters})))
    answers(ingress, "2")
    assert (CDS, name) not in kept(plane)
