"""All healths in one word: what is asked about by whoever has no time for details."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.health_monitoring.domain.belief import State
from services.health_monitoring.domain.health import Health
from services.health_monitoring.domain.overall import Status, overall
from services.health_monitoring.domain.target import Target, model_version, server, service

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ROUTING, A, B = service("routing", "h:1"), server("a", "h:2"), server("b", "h:3")
M_A, M_B = model_version("secret", "1", "a", "h:2"), model_version("secret", "1", "b", "h:3")
ALL = (ROUTING, A, B, M_A, M_B)


def healths(**states: State) -> list[Health]:
    """Everybody is HEALTHY but those who are named by the last part of their identity."""

    def state(target: Target) -> State:
        return states.get(target.identity.rpartition("/")[2].replace("@", "_"), State.HEALTHY)

    return [Health(target, state(target), "why, with addresses", NOW, receives_traffic=True) for target in ALL]


def test_one_check_for_each_service_and_server_and_one_for_the_models() -> None:
    now = overall(healths(), informed=True)
    assert (now.status, now.well) == (Status.HEALTHY, True)
    assert [check.name for check in now.checks] == ["service/routing", "server/a", "server/b", "models"]
    assert {check.status for check in now.checks} == {Status.HEALTHY}


@pytest.mark.parametrize(
    ("states", "status"),
    [
        ({"routing": State.UNHEALTHY}, Status.UNHEALTHY),
        ({"routing": State.UNKNOWN}, Status.UNHEALTHY),
        ({"a": State.UNHEALTHY}, Status.DEGRADED),
        ({"a": State.UNHEALTHY, "b": State.UNKNOWN}, Status.UNHEALTHY),
        ({"1_a": State.UNHEALTHY, "1_b": State.UNHEALTHY}, Status.DEGRADED),
    ],
)
def test_what_follows_from_what(states: dict[str, State], status: Status) -> None:
    now = overall(healths(**states), informed=True)
    assert (now.status, now.well) == (status, status is Status.DEGRADED)


def test_models_are_counted_not_named() -> None:
    now = overall(healths(**{"1_a": State.UNHEALTHY}), informed=True)
    assert now.checks[-1].message == "1 of 2 model versions on servers are not healthy"
    assert "secret" not in str(now)
    assert "addresses" not in str(now)


def test_before_everybody_was_probed_what_is_known_is_told_and_the_whole_is_unknown() -> None:
    now = overall(healths(routing=State.UNHEALTHY), informed=False)
    assert (now.status, now.well) == (Status.UNKNOWN, False)
    assert now.checks[0].status is Status.UNHEALTHY
    assert now.checks[-1].status is Status.UNKNOWN


def test_without_servers_there_is_none_to_be_missed() -> None:
    assert overall([h for h in healths() if h.target is ROUTING], informed=True).status is Status.HEALTHY
