from hypothesis import given
from hypothesis import strategies as st

from services.feature_store.domain.columns import Column, Field, ValueType
from services.feature_store.domain.keys import Instances, instance_key

names = st.text(max_size=6)
owners = st.tuples(names, names, st.lists(names, max_size=4))


@given(owners, owners)
def test_two_instances_never_share_a_key(first, second):
    assert (instance_key(*first) == instance_key(*second)) == (first == second)


def test_what_reads_alike_is_apart():
    assert instance_key("local", "route", ["1", "23"]) != instance_key("local", "route", ["12", "3"])
    assert instance_key("prod", "plane", ["x"]) != instance_key("nonprod", "plane", ["x"])
    assert instance_key("a", "bc", ["d"]) != instance_key("ab", "c", ["d"])


def test_a_key_can_stand_between_braces():
    """Redis takes what is between the first `{` and the first `}`: it must be something."""
    for tenant in ("", "}", "{}", "local"):
        assert not instance_key(tenant, "e", ["}"]).startswith(b"}")
    assert instance_key("local", "airport", ["JFK"]) == b"5:local7:airport3:JFK"


def test_numbers_and_truths_are_keys():
    assert instance_key("t", "e", [-12, True, False]) == b"1:t1:e3:-121:11:0"


def test_null_is_nobody():
    fields = [Field("carrier", ValueType.STRING), Field("origin", ValueType.STRING)]
    columns = {
        "carrier": Column.of(ValueType.STRING, ["AA", None, "AA", "", "AA"]),
        "origin": Column.of(ValueType.STRING, ["JFK", "JFK", None, "JFK", "JFK"]),
    }
    instances = Instances(fields, columns)
    assert instances.codes.tolist() == [0, -1, -1, 1, 0]
    assert instances.distinct == [("AA", "JFK"), ("", "JFK")]
    assert instances.find(columns).tolist() == [0, -1, -1, 1, 0]
