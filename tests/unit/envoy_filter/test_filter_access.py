"""Who may call and how often, as the filter reads it from what routing writes."""

from __future__ import annotations

import base64
import hashlib

from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from services.routing.domain.keys import ROLES
from services.routing.domain.policy import ApiKey, RateLimit, Scope
from services.routing.xds import access
from services.routing.xds.messages import DynamicModuleFilter
from tests.unit.envoy_filter.native import Filters, Who

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True)
TENANTS = st.sampled_from(["local", "acme", "acme2", "b", "z.z"])
ORIGINS = st.from_regex(r"https?://[a-z0-9.]{1,10}(:[0-9]{1,4})?", fullmatch=True)
INFERRING = {"admin", "caller", "engineer"}


@st.composite
def keys(draw):
    made = draw(
        st.dictionaries(st.binary(max_size=80), st.tuples(TENANTS, NAMES, st.sets(st.sampled_from(ROLES), min_size=1)))
    )
    return {
        text: ApiKey(f"id{n}", hashlib.sha256(text).hexdigest(), tenant, principal, tuple(sorted(roles)))
        for n, (text, (tenant, principal, roles)) in enumerate(made.items())
    }


@st.composite
def limits(draw):
    names = draw(st.sets(NAMES, max_size=8))
    scopes, rates = st.sampled_from(list(Scope)), st.floats(0.001, 1_000_000)
    return [
        RateLimit(
            name,
            draw(st.one_of(st.just(""), TENANTS)),
            draw(scopes),
            draw(rates),
            draw(st.integers(1, 1_000_000)),
            draw(st.booleans()),
        )
        for name in sorted(names)
    ]


def text_of(held, bounds, *, authentication: bool = True, origins=(), issuers=()) -> bytes:
    """What Envoy hands to the filter: the content of its configuration."""
    told = {"keys": tuple(held), "limits": tuple(bounds), "origins": origins, "issuers": issuers}
    made = access.gate("ingress", authentication=authentication, **told)
    module = DynamicModuleFilter.FromString(made.typed_config.value)
    return StringValue.FromString(module.filter_config.value).value.encode()


@given(content=st.binary(max_size=300))
def test_hashes_are_sha_256(filters: Filters, content: bytes):
    assert filters.sha256(content) == hashlib.sha256(content).digest()


def test_hashes_of_every_length_around_a_block(filters: Filters):
    for size in range(200):
        assert filters.sha256(bytes(size)) == hashlib.sha256(bytes(size)).digest()


@given(held=keys(), bounds=limits(), others=st.sets(st.binary(max_size=80)))
def test_whoever_has_a_key_is_who_it_says_and_nobody_else_is_anybody(filters: Filters, held, bounds, others):
    with filters.access(text_of(held.values(), bounds)) as known:
        assert known.asks()
        for text, key in held.items():
            names = frozenset(limit.name.encode() for limit in bounds if limit.tenant in ("", key.tenant))
            infers = not INFERRING.isdisjoint(key.roles)
            roles = ",".join(key.roles).encode()
            assert known.caller(text) == Who(key.tenant.encode(), key.principal.encode(), roles, infers, names)
        for text in others - held.keys():
            assert known.caller(text) is None


@given(held=keys(), bounds=limits())
def test_with_authentication_off_everyone_is_local_and_has_its_limits(filters: Filters, held, bounds):
    with filters.access(text_of(held.values(), bounds, authentication=False)) as known:
        assert not known.asks()
        assert all(known.caller(text) is None for text in held)
        names = frozenset(limit.name.encode() for limit in bounds if limit.tenant in ("", "local"))
        assert known.local() == Who(b"local", b"local", b"", infers=True, limits=names)


@given(held=keys(), bounds=limits(), one=st.binary(max_size=30), other=st.binary(max_size=30))
def test_each_tenant_has_its_buckets_and_each_unit_where_a_limit_says_so(filters: Filters, held, bounds, one, other):
    of_unit = {limit.name.encode() for limit in bounds if limit.scope is Scope.UNIT}
    seen: dict[int, tuple[str, bytes, bytes]] = {}
    with filters.access(text_of(held.values(), bounds)) as known:
        for text, key in held.items():
            for unit in (one, other):
                for name, bucket in known.buckets(text, unit).items():
                    counted = (key.tenant, name, unit if name in of_unit else b"")
                    assert seen.setdefault(bucket, counted) == counted


@given(held=keys(), bounds=limits(), named=st.sets(ORIGINS, max_size=3), others=st.sets(st.binary(max_size=40)))
def test_pages_of_the_named_origins_may_call_and_no_others(filters: Filters, held, bounds, named, others):
    with filters.access(text_of(held.values(), bounds, origins=tuple(named))) as known:
        assert all(known.origin(origin.encode()) == origin.encode() for origin in named)
        assert all(known.origin(other) is None for other in others - {origin.encode() for origin in named})
    with filters.access(text_of(held.values(), bounds, origins=("*",))) as known:
        assert all(known.origin(other) == b"*" for other in others if other)


@given(text=st.binary(max_size=200))
def test_bytes_that_are_no_configuration_are_refused(filters: Filters, text: bytes):
    known = filters.access(text)
    assert known is None or text.split(b"\n")[0] in (b"auth on", b"auth off")


@given(held=keys(), bounds=limits(), data=st.data())
def test_a_damaged_configuration_is_refused_or_another_one(filters: Filters, held, bounds, data):
    """Whatever it is, reading it touches nothing but its bytes."""
    text = bytearray(text_of(held.values(), bounds))
    for _ in range(data.draw(st.integers(1, 3))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(text[: data.draw(st.integers(0, len(text)))])
    known = filters.access(cut)
    if known is not None:
        with known:
            known.caller(b"key")


def test_lines_that_say_too_little_or_something_else_are_refused(filters: Filters):
    good = "key " + "0" * 64 + " acme me caller"
    for line in (
        *(
            "",
            "key",
            "key " + "0" * 63 + " acme me caller",
            "key " + "G" * 64 + " acme me caller",
            good.rsplit(" ", 1)[0],
        ),
        *("limit l TENANT * 0 1 enforced", "limit l TENANT * 1 0 enforced", "limit l TENANT * 1 1 perhaps"),
        *("limit l NOBODY * 1 1 enforced", "limit l TENANT * 1000000000000000000 1000000 enforced", "other"),
        *("limit l TENANT * -1 1 enforced", "limit l UNIT  1 1 enforced", "auth on"),
    ):
        assert filters.access(f"auth on\n{good}\n{line}\n".encode()) is None, line
    with filters.access(f"auth on\n{good}\nlimit l UNIT acme 1 1 shadow\n".encode()) as known:
        assert known.asks()


@given(
    status=st.integers(1, 16),
    reason=st.from_regex(r"[A-Z_]{1,60}", fullmatch=True),
    message=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=500),
)
def test_details_are_what_google_rpc_reads(filters: Filters, status: int, reason: str, message: str):
    text = filters.details(status, reason, message)
    read = status_pb2.Status.FromString(base64.b64decode(text + "=" * (-len(text) % 4)))
    info = error_details_pb2.ErrorInfo()
    assert (read.code, read.message, len(read.details)) == (status, message, 1)
    assert read.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "penstock")


def test_details_that_do_not_fit_are_left_out(filters: Filters):
    assert filters.details(3, "INVALID_REQUEST", "x" * 2000) == ""
