"""What siblings publish, as the compiler reads it."""

from penstock.experimentation.v1.experiment_pb2 import Allocation as SaidAllocation
from penstock.experimentation.v1.experiment_pb2 import BucketRange
from penstock.health_monitoring.v1 import health_pb2
from penstock.model_serving.v1.deployment_pb2 import Deployment as SaidDeployment
from penstock.model_serving.v1.deployment_pb2 import Placement
from services.routing.clients import allocations, deployed, unhealthy, weights
from services.routing.domain.known import Deployed
from services.routing.domain.policy import Allocation, Deployment, Range, Server, ServerWeight, Unhealthy

A = Server("a", "127.0.0.1", 8001)
B = Server("b", "triton-b.internal", 8011)
ADDRESSES = {"a": "127.0.0.1:8001", "b": "triton-b.internal:8011", "six": "[::1]:8001", "bad": "nowhere"}


def said_of(version, state=SaidDeployment.STATE_READY, **placements):
    placed = [
        Placement(server=server, address=ADDRESSES[server], state=Placement.State.Value(f"STATE_{name}"))
        for server, name in placements.items()
    ]
    return SaidDeployment(model="m", version=version, state=state, placements=placed)


def test_traffic_goes_only_where_a_version_is_ready():
    said = [said_of("2", b="LOADING", a="READY"), said_of("1", a="READY", b="READY"), said_of("3", a="FAILED")]
    assert deployed(said) == Deployed(
        (A, B), (Deployment("m", "1", ("a", "b")), Deployment("m", "2", ("a",)), Deployment("m", "3", ()))
    )


def test_what_is_being_taken_off_is_not_deployed():
    assert deployed([said_of("1", SaidDeployment.STATE_DELETING, a="READY")]).deployments == ()


def test_the_order_in_which_things_are_said_changes_nothing():
    said = [said_of("1", a="READY", b="READY"), said_of("2", b="READY", a="READY")]
    assert deployed(said) == deployed(reversed(said))


def test_a_server_without_a_usable_address_gets_no_traffic_and_harms_no_other():
    assert deployed([said_of("1", a="READY", bad="READY")]) == Deployed((A,), (Deployment("m", "1", ("a",)),))


def test_an_address_may_be_ipv6():
    assert deployed([said_of("1", six="READY")]).servers == (Server("six", "::1", 8001),)


def test_allocations_keep_their_ranges():
    said = SaidAllocation(experiment="e", model="m", salt="s", ranges=[BucketRange(end=5, variant="v", version="2")])
    assert allocations([said]) == (Allocation("e", "m", "s", (Range(0, 5, "v", "2"),)),)


def test_who_gets_traffic_is_what_health_says():
    said = [
        target(health_pb2.TARGET_KIND_SERVER, server="b", receives_traffic=False, reason="connection refused"),
        target(health_pb2.TARGET_KIND_SERVER, server="a", receives_traffic=True),
        target(health_pb2.TARGET_KIND_MODEL_VERSION, server="a", model="m", version="2", receives_traffic=False),
        target(health_pb2.TARGET_KIND_SERVICE, receives_traffic=False),
    ]
    assert unhealthy(said) == (Unhealthy("a", "", "m", "2"), Unhealthy("b", "connection refused"))


def test_weights_are_of_servers_and_none_where_health_weighs_nothing_yet():
    said = [
        target(health_pb2.TARGET_KIND_SERVER, server="b", weight=250, weight_reason="fast"),
        target(health_pb2.TARGET_KIND_SERVER, server="a", weight=100),
        target(health_pb2.TARGET_KIND_SERVER, server="c"),
        target(health_pb2.TARGET_KIND_MODEL_VERSION, server="a", model="m", version="2"),
    ]
    assert weights(said) == (ServerWeight("a", 100), ServerWeight("b", 250, "fast"))


def target(kind, **fields):
    return health_pb2.TargetHealth(kind=kind, **fields)
