"""Routes from the wire: defaults, every fault at once, masks."""

from dataclasses import replace

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Invalid, collecting
from penstock.routing.v1 import route_pb2
from services.routing.domain.policy import Limits, LoadBalancing, Mirror, ModelVersion, Retries, Route
from services.routing.domain.routes import check_route
from services.routing.servers.messages import decode_route, encode_route, merge_route

PLAIN = Route("m", "1", load_balancing=LoadBalancing.ROUND_ROBIN, timeout=5.0, retries=Retries(5, 2.5))
milliseconds = st.integers(1, 3_600_000)
versions = st.integers(1, 10**18 - 1).map(str)


@st.composite
def good_routes(draw):
    model = draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}", fullmatch=True))
    per_try, timeout = sorted((draw(milliseconds), draw(milliseconds)))
    default = draw(versions)
    others = versions.filter(lambda version: version != default)
    return Route(
        model=model,
        default_version=default,
        fallbacks=tuple(ModelVersion(model, v) for v in draw(st.lists(versions, max_size=4, unique=True))),
        load_balancing=draw(st.sampled_from(LoadBalancing)),
        timeout=timeout / 1000,
        retries=Retries(draw(st.integers(0, 10)), per_try / 1000, draw(st.integers(1, 10_000)) / 1000),
        limits=Limits(
            draw(st.integers(1, 100_000)), draw(st.integers(0, 100_000)), draw(st.integers(0, 67 * 1024 * 1024))
        ),
        mirror=draw(st.none() | st.builds(Mirror, others, st.integers(1, 10_000))),
    )


def checked(said):
    with collecting() as faults:
        route = decode_route(said, faults)
        check_route(route, faults)
    return route


def faults_of(said):
    with pytest.raises(Invalid) as raised:
        checked(said)
    return [violation.field for violation in raised.value.violations]


@given(good_routes())
def test_a_good_route_goes_over_the_wire_unchanged(route):
    assert checked(encode_route(route)) == route


def test_what_is_not_set_has_the_promised_defaults():
    assert checked(route_pb2.Route(model="m", default_version="1")) == PLAIN


def test_the_default_limit_of_an_attempt_fits_a_short_timeout():
    said = route_pb2.Route(model="m", default_version="1", timeout=Duration(nanos=250_000_000))
    assert checked(said).retries.per_try_timeout == 0.125
    said = route_pb2.Route(model="m", default_version="1", timeout=Duration(nanos=1_000_000))
    assert checked(said).retries.per_try_timeout == 0.001


def test_an_explicit_zero_means_that_nobody_waits():
    assert checked(route_pb2.Route(model="m", default_version="1", max_waiting=0)).limits == Limits(50, 0)


def test_limits_of_calls_have_limits():
    said = route_pb2.Route(model="m", default_version="1", max_calls=100_001, max_waiting=100_001)
    said.max_message_bytes = 67 * 1024 * 1024 + 1
    assert faults_of(said) == ["route.max_calls", "route.max_waiting", "route.max_message_bytes"]


def test_an_explicit_zero_means_one_attempt():
    assert checked(route_pb2.Route(model="m", default_version="1", max_retries=0)).retries.attempts == 0


def test_every_fault_is_told_at_once():
    said = route_pb2.Route(
        model="-",
        fallback_versions=["1", "two", "1", "4", "5"],
        load_balancing=7,
        timeout=Duration(seconds=1),
        per_try_timeout=Duration(seconds=2),
        max_retries=11,
    )
    assert faults_of(said) == [
        "route.load_balancing",
        "route.model",
        "route.default_version",
        "route.fallback_versions",
        "route.fallback_versions[1]",
        "route.fallback_versions[2]",
        "route.per_try_timeout",
        "route.max_retries",
    ]


@pytest.mark.parametrize(
    ("version", "basis_points", "faults"),
    [
        ("2", 10_001, ["route.mirror.basis_points"]),
        ("", 0, ["route.mirror.version", "route.mirror.basis_points"]),
        ("1", 1, ["route.mirror.version"]),  # the default itself
    ],
)
def test_a_mirror_is_another_version_with_a_share(version, basis_points, faults):
    mirror = route_pb2.Mirror(version=version, basis_points=basis_points)
    assert faults_of(route_pb2.Route(model="m", default_version="1", mirror=mirror)) == faults


def test_a_mirror_is_changed_as_a_whole_and_ended():
    mirror = route_pb2.Mirror(version="2", basis_points=500)
    there = merged(["mirror"], mirror=mirror)
    assert there == replace(PLAIN, mirror=Mirror("2", 500))
    with collecting() as faults:
        assert merge_route(there, route_pb2.Route(model="m"), FieldMask(paths=["mirror"]), faults) == PLAIN
        assert merge_route(there, route_pb2.Route(model="m"), FieldMask(paths=["timeout"]), faults) == there


@pytest.mark.parametrize("model", ["", "-", ".hidden", "a/b", "ü", "a" * 128, "a\n", "a\0"])
def test_a_bad_name_is_refused(model):
    assert faults_of(route_pb2.Route(model=model, default_version="1")) == ["route.model"]


@pytest.mark.parametrize("seconds", [0, -1, 3601, -(2**40), 2**40])
def test_a_timeout_has_limits(seconds):
    assert "route.timeout" in faults_of(
        route_pb2.Route(model="m", default_version="1", timeout=Duration(seconds=seconds))
    )


def merged(mask, **said):
    with collecting() as faults:
        return merge_route(PLAIN, route_pb2.Route(model="m", **said), FieldMask(paths=mask), faults)


def test_only_masked_fields_change():
    said = {"default_version": "2", "fallback_versions": ["3"], "max_retries": 0}
    assert merged(["max_retries"], **said) == replace(PLAIN, retries=replace(PLAIN.retries, attempts=0))
    assert merged(["fallback_versions"], **said) == replace(PLAIN, fallbacks=(ModelVersion("m", "3"),))


def test_an_empty_mask_changes_everything_that_can_be_changed():
    assert merged([], default_version="2", timeout=Duration(seconds=9)) == replace(
        PLAIN, default_version="2", timeout=9.0, retries=replace(PLAIN.retries, per_try_timeout=4.5)
    )


def test_the_limit_of_an_attempt_goes_with_the_timeout_unless_it_is_another_than_the_default():
    assert merged(["timeout"], timeout=Duration(seconds=2)).retries.per_try_timeout == 1
    both = merged(["timeout", "per_try_timeout"], timeout=Duration(seconds=2), per_try_timeout=Duration(seconds=2))
    assert both.retries.per_try_timeout == 2
    chosen = replace(PLAIN, retries=replace(PLAIN.retries, per_try_timeout=0.5))
    with collecting() as faults:
        said = route_pb2.Route(model="m", timeout=Duration(seconds=2))
        assert merge_route(chosen, said, FieldMask(paths=["timeout"]), faults).retries == chosen.retries


def test_a_masked_field_that_is_not_set_gets_its_default():
    assert merged(["max_retries", "timeout"]) == PLAIN


@pytest.mark.parametrize("path", ["model", "etag", "create_time", "nonsense", "retries.attempts"])
def test_a_mask_names_only_what_can_be_changed(path):
    with pytest.raises(Invalid) as raised:
        merged([path, "timeout"])
    assert [violation.field for violation in raised.value.violations] == ["update_mask"]


@pytest.mark.parametrize(("seconds", "nanos"), [(0, 2_147_483_647), (1, -1), (-1, 1), (1, 1_000_000_000)])
@pytest.mark.parametrize("field", ["timeout", "per_try_timeout"])
def test_what_is_no_duration_is_refused(field, seconds, nanos):
    said = route_pb2.Route(model="m", default_version="1", timeout=Duration(seconds=10))
    getattr(said, field).CopyFrom(Duration(seconds=seconds, nanos=nanos))
    assert f"route.{field}" in faults_of(said)
