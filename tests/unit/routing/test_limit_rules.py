"""What is allowed in a limit, and what a change of one leaves."""

import math
from dataclasses import replace

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Faults, Invalid, collecting
from penstock.routing.v1.rate_limit_pb2 import RateLimit as Said
from services.routing.domain.limits import FASTEST, MOST_BURST, SLOWEST, check_limit, default_burst
from services.routing.domain.policy import RateLimit, Scope
from services.routing.servers.access_messages import CHANGEABLE, decode_limit, merge_limit

LIMIT = RateLimit("gentle", "", Scope.TENANT, 2.5, 10)
rates = st.floats(SLOWEST, FASTEST)
bursts = st.integers(1, MOST_BURST)


@given(rates)
def test_a_limit_without_a_burst_lets_through_what_a_second_brings(rate):
    with collecting() as faults:
        limit = decode_limit(Said(name="gentle", requests_per_second=rate), faults)
        check_limit(limit, faults)
    assert limit.scope is Scope.TENANT
    assert rate <= limit.burst < rate + 1 or limit.burst == 1


@given(st.floats())
def test_a_default_burst_is_one_or_more_whatever_the_rate(rate):
    assert default_burst(rate) >= 1


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": ""}, "rate_limit.name"),
        ({"name": "a b"}, "rate_limit.name"),
        ({"tenant": "a\t"}, "rate_limit.tenant"),
        ({"requests_per_second": 0}, "rate_limit.requests_per_second"),
        ({"requests_per_second": -1}, "rate_limit.requests_per_second"),
        ({"requests_per_second": math.nan}, "rate_limit.requests_per_second"),
        ({"requests_per_second": math.inf}, "rate_limit.requests_per_second"),
        ({"requests_per_second": FASTEST + 1}, "rate_limit.requests_per_second"),
        ({"burst": 0}, "rate_limit.burst"),
        ({"burst": MOST_BURST + 1}, "rate_limit.burst"),
    ],
)
def test_what_is_wrong_with_a_limit_is_named(wrong, field):
    with pytest.raises(Invalid) as raised, collecting() as faults:
        check_limit(replace(LIMIT, **wrong), faults)
    assert [violation.field for violation in raised.value.violations] == [field]


def test_an_unknown_scope_is_refused():
    with pytest.raises(Invalid) as raised, collecting() as faults:
        decode_limit(Said(name="gentle", requests_per_second=1, scope=99), faults)
    assert [violation.field for violation in raised.value.violations] == ["rate_limit.scope"]


@given(rates, bursts, st.booleans(), st.sets(st.sampled_from(CHANGEABLE), min_size=1))
def test_a_change_touches_what_its_mask_names(rate, burst, shadow, fields):
    said = Said(tenant="other", requests_per_second=rate, burst=burst, shadow=shadow)
    faults = Faults()
    merged = merge_limit(LIMIT, said, FieldMask(paths=sorted(fields)), faults)
    assert not faults
    assert merged == replace(LIMIT, **{field: getattr(said, field) for field in fields})
    everything = merge_limit(LIMIT, said, FieldMask(), faults)
    assert everything == replace(LIMIT, requests_per_second=rate, burst=burst, shadow=shadow)


def test_whom_a_limit_counts_cannot_be_changed():
    faults = Faults()
    merge_limit(LIMIT, Said(tenant="other"), FieldMask(paths=["tenant"]), faults)
    with pytest.raises(Invalid, match="'tenant' is none of requests_per_second, burst, shadow"):
        faults.check()
