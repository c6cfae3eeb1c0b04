"""Routes on the command line: what is named is sent, and nothing else."""

import pytest
import typer
from google.protobuf.duration_pb2 import Duration

from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1.explanation_pb2 import ExplainedMirror, Explanation
from penstock.routing.v1.route_pb2 import LOAD_BALANCING_RING_HASH, Mirror, Route

ROUTE = Route(
    model="m",
    default_version="1",
    load_balancing=LOAD_BALANCING_RING_HASH,
    max_calls=50,
    max_waiting=1000,
    mirror=Mirror(version="2", basis_points=250),
)


def updated(penstock, *options):
    running = penstock("route", "update", "m", *options)
    sent = running.answer("RoutingService", "UpdateRoute", pb.UpdateRouteResponse(route=ROUTE))
    return sent.route, sorted(sent.update_mask.paths), running.printed()


def test_a_route_is_created_with_all_that_is_named(penstock):
    options = ["--version", "1", "--fallback", "2", "--fallback", "3", "--balance", "ring-hash", "--timeout", "2.5"]
    running = penstock("route", "create", "m", *options, "--retries", "0", "--mirror", "4:0.01%", "--max-waiting", "0")
    sent = running.answer("RoutingService", "CreateRoute", pb.CreateRouteResponse(route=ROUTE))
    assert sent.route == Route(
        model="m",
        default_version="1",
        fallback_versions=["2", "3"],
        load_balancing=LOAD_BALANCING_RING_HASH,
        timeout=Duration(seconds=2, nanos=500_000_000),
        max_retries=0,
        mirror=Mirror(version="4", basis_points=1),
        max_waiting=0,
    )
    printed = running.printed()
    assert "2: 2.5 %" in printed
    assert "50+1000" in printed


@pytest.mark.parametrize("share", ["5%", "5", "5.00%"])
def test_a_mirror_is_a_version_and_a_share(penstock, share):
    route, fields, _ = updated(penstock, "--mirror", f"2:{share}")
    assert (route.mirror, fields) == (Mirror(version="2", basis_points=500), ["mirror"])


def test_a_mirror_is_ended(penstock):
    route, fields, _ = updated(penstock, "--mirror", "none")
    assert (route.HasField("mirror"), fields) == (False, ["mirror"])


def test_limits_are_changed_by_themselves(penstock):
    route, fields, _ = updated(penstock, "--max-calls", "200", "--max-waiting", "0")
    assert (route, fields) == (Route(model="m", max_calls=200, max_waiting=0), ["max_calls", "max_waiting"])


@pytest.mark.parametrize(("bytes_", "sent"), [("1000", 1000), ("0", 0)])
def test_the_largest_message_is_set_and_unset(penstock, bytes_, sent):
    route, fields, _ = updated(penstock, "--max-message-bytes", bytes_)
    assert (route.max_message_bytes, fields) == (sent, ["max_message_bytes"])


@pytest.mark.parametrize("said", ["2", "2:", "2:x%", "2:0.001%", "2:NaN", "2:-5%", "2:Infinity", "2:101%"])
def test_what_is_no_share_is_refused_before_it_is_sent(penstock, said):
    running = penstock("route", "update", "m", "--mirror", said)
    with pytest.raises(typer.BadParameter):
        running.printed()


@pytest.mark.parametrize(
    ("why", "told"), [("", "version 2: 2.5 % of the calls"), ("it is ill", "version 2: none, it is ill")]
)
def test_an_explanation_says_what_the_mirror_gets(penstock, why, told):
    running = penstock("explain", "route", "m")
    mirror = ExplainedMirror(version="2", basis_points=250, exclusion_reason=why)
    answer = pb.ExplainRouteResponse(explanation=Explanation(model="m", mirror=mirror))
    running.answer("RoutingService", "ExplainRoute", answer)
    assert told in running.printed()
