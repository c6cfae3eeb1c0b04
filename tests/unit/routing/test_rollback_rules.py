"""A rollback writes what differs, keeps what came since, and refuses what could not serve."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Faults, Invalid, Precondition
from services.routing.domain.history import Entry, check_named
from services.routing.domain.known import Deployed
from services.routing.domain.policy import Deployment, ModelVersion, Route
from services.routing.domain.rollback import plan, require_ready

ENTRY = Entry(17, "a" * 16, datetime(2026, 11, 21, 12, tzinfo=UTC))
OLD = Route("m", "1", fallbacks=(ModelVersion("m", "2"),))
routes = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("123")).map(
    lambda versions: tuple(Route(model, version) for model, version in versions.items())
)


def ready(*versions, servers=("a",)):
    return Deployed(deployments=tuple(Deployment("m", version, servers) for version in versions))


@given(routes, routes, st.booleans())
def test_carried_out_it_gives_the_routes_of_then(then, now, delete_newer):
    made = plan(then, now, (), delete_newer=delete_newer)
    after = {route.model: route for route in now} | {route.model: route for route in made.puts}
    for model in made.deletes:
        del after[model]
    newer = {route.model for route in now} - {route.model for route in then}
    assert {model: route for model, route in after.items() if model not in newer} == {r.model: r for r in then}
    assert set(made.deletes if delete_newer else made.kept) == newer
    assert not (made.kept if delete_newer else made.deletes)
    assert plan(then, tuple(after.values()), (), delete_newer=delete_newer).changes() == {}


def test_only_the_models_that_are_named_are_touched():
    then = (Route("a", "1"), Route("b", "1"))
    now = (Route("a", "2"), Route("b", "2"), Route("c", "2"), Route("d", "2"))
    made = plan(then, now, ["a", "c"], delete_newer=True)
    assert made.changes() == {"a": (Route("a", "2"), Route("a", "1")), "c": (Route("c", "2"), None)}


def test_a_model_that_has_no_route_then_or_now_is_told():
    with pytest.raises(Invalid) as raised:
        plan((OLD,), (), ["m", "nobody"], delete_newer=False)
    assert [violation.field for violation in raised.value.violations] == ["models[1]"]


def test_what_is_ready_may_come_back():
    require_ready(plan((OLD,), (), (), delete_newer=False), ENTRY, ready("1", "2"))


@pytest.mark.parametrize(
    ("deployed", "fields"),
    [
        (None, ["default_version", "fallback_versions[0]"]),
        (ready("1", "2", servers=()), ["default_version", "fallback_versions[0]"]),
        (ready("2", "3"), ["default_version"]),
        (ready("1"), ["fallback_versions[0]"]),
    ],
)
def test_what_is_ready_nowhere_is_refused_with_every_field(deployed, fields):
    with pytest.raises(Precondition) as raised:
        require_ready(plan((OLD,), (), (), delete_newer=False), ENTRY, deployed)
    assert raised.value.reason == "VERSION_NOT_READY"
    assert "snapshot 17 cannot be restored" in raised.value.message
    assert [violation.field for violation in raised.value.violations] == [f"routes[m].{field}" for field in fields]


def test_what_stays_as_it_is_is_not_asked_about():
    require_ready(plan((OLD,), (OLD, replace(OLD, model="n")), (), delete_newer=True), ENTRY, None)


@pytest.mark.parametrize("named", ["1", "17", "0123456789abcdef", "1" * 15, "1" * 16])
def test_a_snapshot_is_named_by_number_or_revision(named):
    faults = Faults()
    check_named(named, "revision", faults)
    assert not faults


@pytest.mark.parametrize("named", ["", "0", "-1", "01", "abc", "A" * 16, "a" * 17, "1" * 17, "latest", "1\n", "٣", "%"])
def test_anything_else_is_malformed(named):
    faults = Faults()
    check_named(named, "revision", faults)
    assert faults
