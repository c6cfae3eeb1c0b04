"""Lists that go on: what there is, and again whenever it has changed."""

import grpc
import pytest

from clients.cli import watching
from penstock.routing.v1 import access_service_pb2 as acc
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1 import snapshot_pb2 as sn
from penstock.routing.v1.api_key_pb2 import ApiKey
from penstock.routing.v1.proxy_pb2 import Proxy
from penstock.routing.v1.rate_limit_pb2 import RateLimit
from penstock.routing.v1.route_pb2 import Route


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(watching, "PAUSE_SECONDS", 0)


@pytest.mark.parametrize(
    ("command", "service", "method", "answer"),
    [
        (
            ["route", "list"],
            "RoutingService",
            "ListRoutes",
            lambda name: rt.ListRoutesResponse(routes=[Route(model=name)]),
        ),
        (
            ["key", "list"],
            "AccessService",
            "ListApiKeys",
            lambda name: acc.ListApiKeysResponse(api_keys=[ApiKey(id=name)]),
        ),
        (
            ["limit", "list"],
            "AccessService",
            "ListRateLimits",
            lambda name: acc.ListRateLimitsResponse(rate_limits=[RateLimit(name=name, scope=1)]),
        ),
        (["proxies"], "RoutingService", "ListProxies", lambda name: rt.ListProxiesResponse(proxies=[Proxy(id=name)])),
    ],
    ids=["routes", "keys", "limits", "proxies"],
)
def test_what_changes_is_shown_and_a_gap_is_waited_through(penstock, command, service, method, answer):
    running = penstock(*command, "--watch")
    for name in ("older", "older"):
        running.answer(service, method, answer(name))
    running.refuse(service, method, grpc.StatusCode.UNAVAILABLE, "upstream connect error")
    for name in ("older", "newer"):
        running.answer(service, method, answer(name))
    running.refuse(service, method, grpc.StatusCode.UNAUTHENTICATED, "the key was revoked", "API_KEY_UNKNOWN")
    assert running.failed() == 1
    shown = running.so_far()
    assert (shown.count("older"), shown.count("newer")) == (1, 1)
    assert shown.index("older") < shown.index("newer")


def test_snapshots_follow_each_other_newest_last(penstock):
    def entry(number):
        return sn.Snapshot(number=number, authors=[f"author-{number}"])

    running = penstock("snapshot", "list", "--watch")
    for numbers in ((2, 1), (2, 1), (4, 3, 2, 1)):
        answer = rt.ListSnapshotsResponse(snapshots=[entry(number) for number in numbers])
        running.answer("RoutingService", "ListSnapshots", answer)
    running.refuse("RoutingService", "ListSnapshots", grpc.StatusCode.PERMISSION_DENIED, "no role", "ROLE_REQUIRED")
    assert running.failed() == 1
    words = running.so_far().split()
    assert [word for word in words if word.startswith("author-")] == ["author-1", "author-2", "author-3", "author-4"]


def test_who_does_not_answer_at_first_is_told(penstock, capsys):
    running = penstock("proxies", "-w")
    running.refuse("RoutingService", "ListProxies", grpc.StatusCode.UNAVAILABLE, "")
    assert running.failed() == 1
    assert "does not answer" in capsys.readouterr().err
