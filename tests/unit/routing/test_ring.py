"""The ring: points by weight, every member once on each walk, few units moved.

That it is Envoy's is seen in tests/integration/dataplane.
"""

from __future__ import annotations

import collections

import xxhash
from hypothesis import given
from hypothesis import strategies as st

from services.routing.domain.ring import LEAST_POINTS, Ring

points = st.integers(0, 2**64 - 1)
members = st.lists(
    st.tuples(st.integers(1, 65535).map(lambda port: f"10.0.0.1:{port}"), st.integers(1, 316)),
    min_size=1,
    max_size=8,
    unique_by=lambda member: member[0],
).map(tuple)


@given(members, points)
def test_a_walk_meets_every_member_once(of, point):
    assert sorted(Ring(of).walk(point)) == list(range(len(of)))


@given(members, points)
def test_a_point_falls_to_the_next_hash_and_beyond_the_last_to_the_first(of, point):
    ring = Ring(of)
    found = [of[place][0] for place in ring._places]
    hashes = ring._hashes
    assert hashes == sorted(hashes)
    later = [host for hashed, host in zip(hashes, found, strict=True) if hashed >= point]
    assert of[next(ring.walk(point))][0] == (later or found)[0]


@given(members)
def test_points_are_as_weights_are(of):
    ring = Ring(of)
    counts = collections.Counter(ring._places)
    least, total = min(weight for _, weight in of), sum(weight for _, weight in of)
    assert len(ring._places) >= LEAST_POINTS
    for place, (_, weight) in enumerate(of):
        assert abs(counts[place] - len(ring._places) * weight / total) <= 2
        assert counts[place] >= LEAST_POINTS * least // total


def test_a_point_is_named_after_the_host_and_its_number():
    ring = Ring((("10.0.0.1:8001", 1),))
    assert set(ring._hashes) == {xxhash.xxh64_intdigest(f"10.0.0.1:8001_{n}".encode()) for n in range(LEAST_POINTS)}


def test_a_member_that_goes_moves_little_but_its_own():
    of = tuple((f"10.0.0.{n}:8001", 1) for n in range(4))
    units = [xxhash.xxh64_intdigest(f"unit {n}".encode()) for n in range(4000)]
    before, after = Ring(of), Ring(of[:3])
    moved = [u for u in units if (owner := next(before.walk(u))) != 3 and next(after.walk(u)) != owner]
    own = [u for u in units if next(before.walk(u)) == 3]
    assert len(moved) < 0.15 * len(units)
    assert abs(len(own) - 1000) < 200
    assert {next(after.walk(u)) for u in own} == {0, 1, 2}
