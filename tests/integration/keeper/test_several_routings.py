"""A keeper that knows several routings: whichever answers is followed, and no call notices."""

import os
import socket
import subprocess
import sys
from contextlib import contextmanager

from deploy.local import parts
from deploy.local.ports import Ports
from services.routing.domain.policy import Route
from services.routing.xds.resources import compile_snapshot
from tests.integration.dataplane.load import under_load
from tests.integration.keeper.test_keeper import FOLLOW_SECONDS, answers
from tests.polling import eventually


@contextmanager
def keeper_of(plane, *addresses):
    """In the place of the stack's own keeper."""
    told = {"PENSTOCK_ADS_TARGET": ",".join(addresses)}
    environment = {**os.environ, **parts.environment(plane.stack.places, plane.stack.ports, "keeper"), **told}
    with plane.stack.held_down("keeper"):
        process = subprocess.Popen([sys.executable, "-m", "deploy.envoy.keeper"], env=environment)
        try:
            yield
        finally:
            process.terminate()
            process.wait()


def test_envoy_follows_whichever_routing_answers(plane, ingress):
    first = compile_snapshot(plane.inputs())
    second = compile_snapshot(plane.inputs(routes=(Route("m", "2"),)))
    address = f"127.0.0.1:{Ports.free()['routing']}"
    other = plane.manager.AdsHost(address)
    with socket.create_server(("127.0.0.1", 0)) as silent, under_load(plane, callers=4) as load:
        hanging = f"127.0.0.1:{silent.getsockname()[1]}"
        with keeper_of(plane, hanging, address, plane.stack.address("routing")):
            plane.apply(plane.inputs(routes=(Route("m", "4"),)))
            answers(ingress, "4")
            plane.apply(plane.inputs())
            other.serve()
            other.publish(first)
            plane.stop_ads()
            eventually(
                lambda: other.acknowledged("envoy") == first.revision, within=FOLLOW_SECONDS, message="it moves on"
            )
            other.publish(second)
            answers(ingress, "2")
            other.stop()
            plane.serve_ads()
            plane.apply(plane.inputs())
            answers(ingress, "1")
    assert load.codes() == {"OK": len(load.calls)}
