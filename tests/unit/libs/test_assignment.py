"""Who gets what: invariants of the ranges, and the one value that pins the function to Envoy's."""

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from libs.assignment import BUCKETS, bucket, owner, ranges

weights = st.lists(st.integers(1, 2000), min_size=1, max_size=5).map(
    lambda ws: [(f"v{i}", str(i + 1), w) for i, w in enumerate(ws)]
)


def test_bucket_is_the_unseeded_hash_of_unit_colon_salt():
    assert bucket("zürich-7", "salt") == xxhash.xxh64("zürich-7:salt".encode(), seed=0).intdigest() % 10_000
    assert bucket("passenger-1", "exp1") == 6912


@given(weights, st.integers(0, BUCKETS))
def test_ranges_are_disjoint_ascending_and_within_the_layer(variants, coverage):
    owned = ranges(variants, coverage=coverage)
    ends = [0]
    for r in owned:
        assert ends[-1] <= r.start < r.end <= BUCKETS
        ends.append(r.end)


@given(weights, st.integers(0, BUCKETS), st.integers(0, BUCKETS), st.integers(0, BUCKETS - 1))
def test_raising_coverage_only_adds_units(variants, one, other, at):
    low, high = sorted((one, other))
    before = owner(ranges(variants, coverage=low), at)
    after = owner(ranges(variants, coverage=high), at)
    if before is not None:
        assert after is not None
        assert after.variant == before.variant


@given(weights)
def test_full_coverage_gives_each_variant_its_weight(variants):
    assert {r.variant: r.end - r.start for r in ranges(variants)} == {v: w for v, _, w in variants}


def test_gaps_are_nobodys():
    owned = ranges([("a", "1", 5000), ("b", "2", 5000)], coverage=1000)
    assert owner(owned, 499).variant == "a"
    assert owner(owned, 500) is None
    assert owner(owned, 5000).variant == "b"
    assert owner(owned, 5500) is None
