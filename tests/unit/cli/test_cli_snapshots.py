"""What was Envoy told, when, by whom, and how to go back: in 80 columns and plain words."""

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1 import snapshot_pb2 as sn
from penstock.routing.v1.proxy_pb2 import Proxy, Rejection

TIME = Timestamp(seconds=1_795_286_466)
SNAPSHOT = sn.Snapshot(
    number=17,
    revision="0123456789abcdef",
    publish_time=TIME,
    authors=["ana", "model_serving"],
    reasons=["route flights: default_version 1 -> 2", "two", "three", "four"],
    counts=[
        sn.ResourceCount(type="Cluster", total=4, added=1, removed=2),
        sn.ResourceCount(type="RouteConfiguration", total=2, changed=1),
    ],
    unrecorded=3,
)


def fits(printed, width=80):
    assert max(map(len, printed.splitlines())) <= width
    return printed


def test_a_list_fits_into_80_columns(penstock):
    running = penstock("snapshot", "list", "-n", "2", width=80)
    older = sn.Snapshot(number=16, revision="f" * 16, publish_time=TIME, authors=["local"], reasons=["one"])
    sent = running.answer("RoutingService", "ListSnapshots", rt.ListSnapshotsResponse(snapshots=[SNAPSHOT, older]))
    assert sent.page_size == 2
    assert [line.rstrip() for line in fits(running.printed()).splitlines()] == [
        "   17  Nov 21 18:41:06  ana, model_serving  +1 ~1 -2",
        "       route flights: default_version 1 -> 2",
        "       two",
        "       three",
        "       … `snapshot show 17` says all",
        "   16  Nov 21 18:41:06  local  same",
        "       one",
    ]


def test_a_long_reason_goes_on_below_itself(penstock):
    running = penstock("snapshot", "list", width=80)
    long = sn.Snapshot(number=1, publish_time=TIME, reasons=["experiment e: " + "share " * 20])
    running.answer("RoutingService", "ListSnapshots", rt.ListSnapshotsResponse(snapshots=[long]))
    lines = fits(running.printed()).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("       share")


def test_an_empty_history_says_so(penstock):
    running = penstock("snapshot", "list")
    running.answer("RoutingService", "ListSnapshots", rt.ListSnapshotsResponse())
    assert "No snapshot is recorded yet." in running.printed()


def test_show_tells_who_gets_what(penstock):
    running = penstock("snapshot", "show", "17", "--model", "flights", width=80)
    parts = [
        sn.TableSlice(end=2500, experiment="bigger", variant="new", chain=["2", "2", "1"]),
        sn.TableSlice(start=2500, end=10000, chain=["1"]),
    ]
    members = [
        sn.SetMember(server="a", address="10.0.0.1:8001", included=True, weight=64, weight_reason="p99 is 2.2 times"),
        sn.SetMember(server="b", address="10.0.0.2:8001", reason="connection refused"),
    ]
    answer = rt.GetSnapshotResponse(
        snapshot=SNAPSHOT,
        models=[
            sn.ModelTable(model="flights", slices=parts),
            sn.ModelTable(model="idle", slices=[sn.TableSlice(end=1)]),
        ],
        server_sets=[sn.ServerSet(name="set-1", load_balancing="ROUND_ROBIN", members=members)],
        next_page_token="more",
    )
    sent = running.answer("RoutingService", "GetSnapshot", answer)
    assert (sent.revision, sent.model, sent.with_yaml) == ("17", "flights", False)
    printed = fits(running.printed())
    for said in (
        "0123456789abcdef",
        "ana, model_serving",
        "four",
        "4 Cluster: 1 new, 2 gone",
        "25 %",
        "version 2 up to 2 times, then version 1",
        "bigger, new",
        "none: refused",
        "round-robin",
        "a 10.0.0.1:8001 weight 64: p99 is 2.2 times",
        "b 10.0.0.2:8001 out: connection refused",
        "more than these 2 models",
    ):
        assert said in printed


def test_show_writes_yaml_as_it_is(penstock):
    running = penstock("snapshot", "show", "--yaml", width=20)
    resource = sn.Resource(type="Cluster", name="set-1", version="f" * 16, yaml="name: set-1\nlong: " + "x" * 50 + "\n")
    sent = running.answer("RoutingService", "GetSnapshot", rt.GetSnapshotResponse(resources=[resource]))
    assert (sent.revision, sent.with_yaml) == ("", True)
    assert running.printed() == f"--- # Cluster set-1 {'f' * 16}\n{resource.yaml}"


def test_diff_shows_the_lines_that_differ(penstock):
    running = penstock("snapshot", "diff", "16")
    newest = rt.ListSnapshotsResponse(snapshots=[SNAPSHOT])
    assert running.answer("RoutingService", "ListSnapshots", newest).page_size == 1
    found = [
        sn.Difference(
            type="route",
            name="flights",
            change=sn.CHANGE_CHANGED,
            before="model: flights\ndefault_version: 1\na: 1\nb: 1\nc: 1\n",
            after="model: flights\ndefault_version: 2\na: 1\nb: 1\nc: 1\n",
        ),
        sn.Difference(type="Cluster", name="set-1", change=sn.CHANGE_REMOVED, before="name: set-1\n"),
    ]
    sent = running.answer("RoutingService", "DiffSnapshots", rt.DiffSnapshotsResponse(differences=found))
    assert (sent.from_revision, sent.to_revision) == ("16", "17")
    assert running.printed().splitlines() == [
        "~ route flights",
        "     model: flights",
        "    -default_version: 1",
        "    +default_version: 2",
        "     a: 1",
        "- Cluster set-1",
    ]


def test_diff_of_the_same_says_so(penstock):
    running = penstock("snapshot", "diff", "16", "17")
    running.answer("RoutingService", "DiffSnapshots", rt.DiffSnapshotsResponse())
    assert running.printed() == "Nothing is different.\n"


def test_rollback_tells_what_it_did(penstock):
    running = penstock("snapshot", "rollback", "17", "--model", "flights", "--model", "idle", width=80)
    routes = [
        sn.RestoredRoute(model="flights", change=sn.CHANGE_CHANGED, what="default_version 2 -> 1"),
        sn.RestoredRoute(model="idle", change=sn.CHANGE_ADDED, what="created, default_version 1"),
    ]
    answer = rt.RollbackSnapshotResponse(restored=SNAPSHOT, routes=routes, kept_models=["newer"])
    sent = running.answer("RoutingService", "RollbackSnapshot", answer)
    assert (sent.revision, list(sent.models)) == ("17", ["flights", "idle"])
    assert (sent.delete_newer, sent.validate_only) == (False, False)
    printed = fits(running.printed())
    assert "The routes of snapshot 17 are restored:" in printed
    assert "default_version 2 -> 1" in printed
    assert "created again" in printed
    assert "Created since, and kept: newer" in printed
    assert "penstock proxies" in printed


def test_a_dry_run_only_asks(penstock):
    running = penstock("snapshot", "rollback", "17", "--dry-run", "--delete-newer")
    routes = [sn.RestoredRoute(model="newer", change=sn.CHANGE_REMOVED, what="deleted")]
    answer = rt.RollbackSnapshotResponse(restored=SNAPSHOT, routes=routes)
    sent = running.answer("RoutingService", "RollbackSnapshot", answer)
    assert sent.validate_only
    assert sent.delete_newer
    assert "would be restored" in running.printed()


def test_a_rollback_to_what_is_says_so(penstock):
    running = penstock("snapshot", "rollback", "17")
    running.answer("RoutingService", "RollbackSnapshot", rt.RollbackSnapshotResponse(restored=SNAPSHOT))
    assert running.printed() == "The routes are those of snapshot 17: nothing to do.\n"


@pytest.mark.parametrize(
    ("code", "reason", "faults", "said"),
    [
        (grpc.StatusCode.NOT_FOUND, "SNAPSHOT_NOT_FOUND", (), "`penstock snapshot list`"),
        (
            grpc.StatusCode.FAILED_PRECONDITION,
            "VERSION_NOT_READY",
            [("routes[flights].default_version", "version 1 is ready on no server now")],
            "Not as things stand:\n  routes[flights].default_version: version 1 is ready on no server now\n`penstock",
        ),
        (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", [("revision", "must be")], "revision: must be"),
    ],
)
def test_a_rollback_that_is_refused_says_what_to_do(penstock, capsys, code, reason, faults, said):
    running = penstock("snapshot", "rollback", "99")
    running.refuse("RoutingService", "RollbackSnapshot", code, "no", reason, faults)
    assert running.failed() == 1
    assert said in capsys.readouterr().err


def test_proxies_show_what_each_runs_and_what_it_refuses(penstock):
    running = penstock("proxies", width=80)
    rejection = Rejection(type_url="type.googleapis.com/x.Cluster", message="no such thing " * 10, time=TIME)
    found = [
        Proxy(id="penstock-1", envoy_version="1.40.0", connected=True, sent_revision="a", acknowledged_revision="a"),
        Proxy(id="penstock-2", connected=True, sent_revision="a", acknowledged_revision="b"),
        Proxy(id="penstock-3", connected=True, sent_revision="a", rejections=[rejection]),
        Proxy(id="penstock-4"),
    ]
    running.answer("RoutingService", "ListProxies", rt.ListProxiesResponse(proxies=found))
    printed = fits(running.printed())
    for said in ("in step", "behind", "refuses", "gone", "penstock-3 refused Cluster at Nov 21", "snapshot rollback"):
        assert said in printed


def test_no_proxies_is_said(penstock):
    running = penstock("proxies")
    running.answer("RoutingService", "ListProxies", rt.ListProxiesResponse())
    assert "No Envoy has connected yet." in running.printed()
