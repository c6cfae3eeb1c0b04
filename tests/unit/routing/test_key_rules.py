"""Keys are made so that they can be told from others and never be guessed, and for holders that a header can name."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Invalid, collecting
from services.routing.domain.keys import (
    KEY,
    KEY_ID,
    PRINCIPAL,
    ROLES,
    TENANT,
    check_holder,
    check_key_id,
    key_hash,
    make_key,
)


def dealing(*dealt):
    """A source of randomness that deals these, each of the length that it is asked for."""
    rest = list(dealt)

    def random(count):
        assert len(rest[0]) == count
        return rest.pop(0)

    return random


random_bytes = st.tuples(st.binary(min_size=8, max_size=8), st.binary(min_size=24, max_size=24))


@given(random_bytes)
def test_a_made_key_can_be_read_and_is_known_by_its_hash(dealt):
    made = make_key(dealing(*dealt))
    assert KEY.fullmatch(made.text).group(1) == made.id
    assert KEY_ID.fullmatch(made.id)
    assert len(made.text) == 54
    assert made.sha256 == hashlib.sha256(made.text.encode()).hexdigest() == key_hash(made.text)


@given(random_bytes, random_bytes)
def test_other_secrets_make_other_keys(one, other):
    same = make_key(dealing(*one)).sha256 == make_key(dealing(*other)).sha256
    # an id has 60 of its 64 bits
    assert same == (one[1] == other[1] and one[0][:7] == other[0][:7] and one[0][7] >> 4 == other[0][7] >> 4)


@given(random_bytes)
def test_a_made_key_does_not_show_itself(dealt):
    made = make_key(dealing(*dealt))
    assert made.text not in repr(made)
    assert made.text.split("_", 2)[2] not in repr(made)


@given(random_bytes)
def test_a_whole_key_in_the_place_of_its_id_is_refused_and_not_repeated(dealt):
    made = make_key(dealing(*dealt))
    with pytest.raises(Invalid) as raised, collecting() as faults:
        check_key_id(made.text, "id", faults)
    assert "whole key" in str(raised.value)
    assert made.text not in str(raised.value)
    with collecting() as faults:
        check_key_id(made.id, "id", faults)


@given(
    st.from_regex(TENANT, fullmatch=True),
    st.from_regex(PRINCIPAL, fullmatch=True),
    st.sets(st.sampled_from(ROLES), min_size=1),
)
def test_what_is_allowed_can_stand_in_a_header_and_in_a_line_of_a_log(tenant, principal, roles):
    with collecting() as faults:
        check_holder(tenant, principal, sorted(roles), "", faults)
    for name in (tenant, principal):
        assert name.isascii()
        assert name.isprintable()
        assert not set(name) & set(" ,\t")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"tenant": ""}, "api_key.tenant"),
        ({"tenant": "a b"}, "api_key.tenant"),
        ({"tenant": "a\n"}, "api_key.tenant"),
        ({"tenant": "-a"}, "api_key.tenant"),
        ({"tenant": "a" * 128}, "api_key.tenant"),
        ({"principal": ""}, "api_key.principal"),
        ({"principal": "a,b"}, "api_key.principal"),
        ({"principal": "é"}, "api_key.principal"),
        ({"roles": ()}, "api_key.roles"),
        ({"roles": ("caller", "king")}, "api_key.roles[1]"),
        ({"roles": ("caller", "caller")}, "api_key.roles[1]"),
        ({"roles": ("Admin",)}, "api_key.roles[0]"),
        ({"roles": (*ROLES, "caller")}, "api_key.roles"),
        ({"description": "é" * 513}, "api_key.description"),
        ({"description": "a\0"}, "api_key.description"),
    ],
)
def test_what_is_wrong_with_a_holder_is_named(wrong, field):
    right = {"tenant": "acme", "principal": "alice@acme.example", "roles": ("caller",), "description": "é" * 512}
    with pytest.raises(Invalid) as raised, collecting() as faults:
        check_holder(**right | wrong, faults=faults)
    assert [violation.field for violation in raised.value.violations] == [field]


def test_every_fault_is_named_at_once():
    with pytest.raises(Invalid) as raised, collecting() as faults:
        check_holder("", "", [], "\n", faults)
    assert len(raised.value.violations) == 4
