"""Who calls with a token, as the filter reads it from the headers that Envoy makes of its claims."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.routing.domain.keys import PRINCIPAL, ROLES, TENANT
from services.routing.domain.policy import ApiKey, Issuer
from tests.unit.envoy_filter.native import FOREIGN, NOT_OURS, TAKEN, UNNAMED, Filters
from tests.unit.envoy_filter.test_filter_access import INFERRING, limits, text_of

LISTS, TEXTS, NARROW = (
    Issuer("https://lists", ("us",), "{}"),
    Issuer("texts", ("us",), "{}", lists_roles=False),
    Issuer("https://narrow", ("us",), "{}", ("acme", "b")),
)
KNOWN = (LISTS, TEXTS, NARROW)
WORDS = st.sampled_from([*ROLES, "King", "admin ", "caller,admin", 'a"admin"', "\\admin"])
JSON = st.recursive(
    st.none() | st.booleans() | WORDS | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([*ROLES, "x"]), inner, max_size=3),
    max_leaves=12,
)


def as_envoy_writes(claim) -> bytes:
    """Of a list or an object."""
    return base64.b64encode(json.dumps(claim, separators=(",", ":")).encode())


def written(roles) -> bytes:
    return ",".join(sorted(roles)).encode() or b"none"


def taken(filters: Filters, roles: bytes | None, issuer: Issuer = LISTS, bounds=()):
    with filters.access(text_of((), bounds, issuers=KNOWN)) as known:
        verdict, who = known.bearer(issuer.name.encode(), b"acme", b"auth0|me", roles)
    assert verdict == TAKEN
    return who


@given(claim=JSON)
def test_roles_of_a_list_are_its_texts_that_are_roles(filters: Filters, claim):
    listed = [each for each in claim if isinstance(each, str)] if isinstance(claim, list) else []
    wanted = set(listed) & set(ROLES)
    who = taken(filters, as_envoy_writes(claim))
    assert (who.roles, who.infers) == (written(wanted), not INFERRING.isdisjoint(wanted))


@given(words=st.lists(st.sampled_from([*ROLES, "King", "Admin", ""])), apart=st.sampled_from(" ,"))
def test_roles_of_a_text_stand_between_spaces_or_commas(filters: Filters, words, apart):
    assert taken(filters, apart.join(words).encode(), TEXTS).roles == written(set(words) & set(ROLES))


@given(roles=st.binary(max_size=100) | st.none(), issuer=st.sampled_from([LISTS, TEXTS]))
def test_whatever_the_claim_is_no_other_role_comes_of_it(filters: Filters, roles, issuer):
    who = taken(filters, roles, issuer)
    assert who.roles == b"none" or set(who.roles.decode().split(",")) <= set(ROLES)


def test_a_text_is_no_list_and_a_list_no_text(filters: Filters):
    assert taken(filters, b"admin").roles == b"none"
    assert taken(filters, as_envoy_writes(["admin"]), TEXTS).roles == b"none"


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_list_that_is_cut_off_gives_nothing(filters: Filters, cut: int):
    assert taken(filters, as_envoy_writes(["admin"])[:-cut].rstrip(b"=")).roles == b"none"


@given(bounds=limits(), tenant=st.sampled_from(["local", "acme", "b", "z.z"]))
def test_a_caller_by_token_has_the_limits_and_buckets_of_its_tenant(filters: Filters, bounds, tenant: str):
    key = b"the key of somebody else there"
    held = _key(key, tenant)
    with filters.access(text_of([held], bounds, issuers=KNOWN)) as known:
        verdict, who = known.bearer(b"texts", tenant.encode(), b"me", b"caller")
        assert verdict == TAKEN
        assert who.limits == known.caller(key).limits
        assert known.buckets_of_bearer(b"texts", tenant.encode(), b"u") == known.buckets(key, b"u")


@given(tenant=st.text(max_size=140) | st.from_regex(TENANT, fullmatch=True))
def test_tenants_are_named_as_those_of_keys(filters: Filters, tenant: str):
    with filters.access(text_of((), (), issuers=KNOWN)) as known:
        verdict, who = known.bearer(b"texts", tenant.encode(), b"me", None)
    assert verdict == (TAKEN if TENANT.fullmatch(tenant) else UNNAMED)
    assert verdict == UNNAMED or who.tenant == tenant.encode()


@given(principal=st.binary(max_size=140) | st.from_regex(PRINCIPAL, fullmatch=True).map(str.encode))
def test_principals_are_whatever_can_be_seen(filters: Filters, principal: bytes):
    fit = 0 < len(principal) <= 127 and all(0x20 < byte < 0x7F for byte in principal)
    with filters.access(text_of((), (), issuers=KNOWN)) as known:
        verdict, who = known.bearer(b"texts", b"acme", principal, None)
    assert verdict == (TAKEN if fit else UNNAMED)
    assert not fit or who.principal == principal


def test_a_token_says_whose_it_is_or_is_refused(filters: Filters):
    with filters.access(text_of((), (), issuers=KNOWN)) as known:
        assert known.bearer(b"texts", None, b"me", b"admin")[0] == UNNAMED
        assert known.bearer(b"texts", b"acme", None, b"admin")[0] == UNNAMED
        assert known.bearer(b"https://narrow", b"b", b"me", None)[0] == TAKEN
        for tenant in (b"local", b"ac", b"acme,b", b"b2"):
            assert known.bearer(b"https://narrow", tenant, b"me", None)[0] != TAKEN
        assert known.bearer(b"https://narrow", b"local", b"me", None)[0] == FOREIGN
        for name in (None, b"", b"text", b"texts2", b"https://narrow "):
            assert known.bearer(name, b"acme", b"me", b"admin")[0] == NOT_OURS


def test_without_issuers_or_authentication_there_are_no_tokens(filters: Filters):
    for issuers, authentication, takes in ((KNOWN, True, True), ((), True, False), (KNOWN, False, False)):
        with filters.access(text_of((), (), issuers=issuers, authentication=authentication)) as known:
            assert known.takes_tokens() == takes


def test_lines_of_issuers_that_say_too_little_are_refused(filters: Filters):
    for line in ("issuer", "issuer a", "issuer a list", "issuer a list ", "issuer a maybe *", "issuer  list *"):
        assert filters.access(f"auth on\n{line}\n".encode()) is None, line


def _key(text: bytes, tenant: str):
    return ApiKey("id", hashlib.sha256(text).hexdigest(), tenant, "me", ("caller",))
