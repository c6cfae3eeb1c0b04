"""Why a snapshot is another than the one before, in words that say who and what."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from services.routing.domain.history import Write
from services.routing.domain.policy import (
    Allocation,
    ApiKey,
    Deployment,
    Exhausted,
    Limits,
    LoadBalancing,
    Mirror,
    ModelVersion,
    Range,
    RateLimit,
    Retries,
    Route,
    Scope,
    Server,
    ServerWeight,
    Unhealthy,
)
from services.routing.domain.reasons import authors, reasons

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROUTE = Route("flights", "1", timeout=5.0, retries=Retries(5, 2.5))
KEY = ApiKey("abcdefghijkl", "f" * 64, "acme", "alice", ("caller", "engineer"))
EXPERIMENT = Allocation("bigger", "flights", "s", (Range(0, 2500, "old", "1"), Range(5000, 5050, "new", "2")))


def test_routes_are_told_field_by_field():
    other = replace(
        ROUTE,
        default_version="2",
        fallbacks=(ModelVersion("flights", "1"), ModelVersion("flights", "3")),
        load_balancing=LoadBalancing.ROUND_ROBIN,
        timeout=2.5,
        retries=Retries(0, 0.1, 0.25),
        mirror=Mirror("2", 1050),
        limits=Limits(7, 0),
    )
    (told,) = reasons({("route", "flights"): (ROUTE, other)}, ())
    assert told.removeprefix("route flights: ").split(", ") == [
        "default_version 1 -> 2",
        "fallback_versions none -> 1,3",
        "load_balancing LEAST_REQUEST -> ROUND_ROBIN",
        "timeout 5s -> 2.5s",
        "per_try_timeout 2.5s -> 0.1s",
        "max_retries 5 -> 0",
        "retry_back_off 0.005s -> 0.25s",
        "max_calls 50 -> 7",
        "max_waiting 1000 -> 0",
        "mirror none -> 2:10.5%",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "before", "after", "told", "who"),
    [
        ("route", "flights", None, ROUTE, "route flights: created, default_version 1", "unknown"),
        ("route", "flights", ROUTE, None, "route flights: deleted", "unknown"),
        (
            "api_key",
            KEY.id,
            None,
            KEY,
            "API key abcdefghijkl: made for acme/alice (caller, engineer)",
            "routing",
        ),
        ("api_key", KEY.id, KEY, None, "API key abcdefghijkl: revoked", "routing"),
        (
            "rate_limit",
            "gentle",
            RateLimit("gentle", "", Scope.UNIT, 0.5, 1),
            RateLimit("gentle", "acme", Scope.TENANT, 1000, 2000, shadow=True),
            "rate limit gentle: 0.5/s, burst 1 (every tenant, UNIT) -> 1000/s, burst 2000 (acme, TENANT, shadow)",
            "routing",
        ),
        (
            "rate_limit",
            "gentle",
            RateLimit("gentle", "", Scope.UNIT, 0.5, 1),
            None,
            "rate limit gentle: 0.5/s, burst 1 (every tenant, UNIT) -> none",
            "routing",
        ),
        (
            "deployment",
            "flights/2",
            Deployment("flights", "2", ("a", "b")),
            Deployment("flights", "2", ()),
            "deployment flights/2: ready on a, b -> ready on no server",
            "model_serving",
        ),
        (
            "deployment",
            "flights/2",
            None,
            Deployment("flights", "2", ("a",)),
            "deployment flights/2: not deployed -> ready on a",
            "model_serving",
        ),
        ("server", "a", None, Server("a", "10.0.0.1", 8001), "server a: none -> 10.0.0.1:8001", "model_serving"),
        (
            "allocation",
            "flights/bigger",
            None,
            EXPERIMENT,
            "experiment bigger on flights: not running -> new 0.5 % (version 2), old 25 % (version 1)",
            "experimentation",
        ),
        (
            "allocation",
            "flights/bigger",
            replace(EXPERIMENT, ranges=()),
            None,
            "experiment bigger on flights: no buckets -> not running",
            "experimentation",
        ),
        (
            "unhealthy",
            "a",
            None,
            Unhealthy("a", "connection refused"),
            "health of a: gets no calls: connection refused",
            "health_monitoring",
        ),
        ("unhealthy", "a", Unhealthy("a", "slow"), None, "health of a: gets calls again", "health_monitoring"),
        ("weight", "a", ServerWeight("a", 100), None, "weight of a: 100 -> none", "health_monitoring"),
        ("exhausted", "t/m", None, Exhausted("t", "m"), "budget of t/m: is spent", "cost_tracking"),
        ("exhausted", "t/m", Exhausted("t", "m"), None, "budget of t/m: is not spent any more", "cost_tracking"),
    ],
)
def test_each_owner_is_named_with_what_changed(kind, name, before, after, told, who):
    changes = {(kind, name): (before, after)}
    assert reasons(changes, ()) == (told,)
    assert authors(changes, ()) == (who,)


def test_people_are_named_beside_services_and_what_they_said_leads():
    changes = {
        ("deployment", "flights/2"): (None, Deployment("flights", "2", ("a",))),
        ("route", "flights"): (ROUTE, replace(ROUTE, default_version="2")),
    }
    writes = [Write("flights", "x", who, NOON, why="rollback to snapshot 3") for who in ("bob", "ana")]
    assert authors(changes, writes) == ("ana", "bob", "model_serving")
    assert reasons(changes, writes) == (
        "rollback to snapshot 3",
        "route flights: default_version 1 -> 2",
        "deployment flights/2: not deployed -> ready on a",
    )


def test_many_changes_are_counted():
    changes = {("route", f"m{n:02}"): (None, replace(ROUTE, model=f"m{n:02}")) for n in range(50)}
    told = reasons(changes, ())
    assert len(told) == 21
    assert told[0] == "route m00: created, default_version 1"
    assert told[-1] == "and 30 more changes"


def test_what_the_writes_say_is_told_once_and_counts_as_a_line():
    writes = [Write("m00", "", "ana", NOON, "rollback to snapshot 3")] * 2
    changes = {("route", f"m{n:02}"): (None, replace(ROUTE, model=f"m{n:02}")) for n in range(20)}
    told = reasons(changes, writes)
    assert (told[0], told[1], told[-1], len(told)) == (
        "rollback to snapshot 3",
        "route m00: created, default_version 1",
        "and 1 more changes",
        21,
    )
