"""Envoy's hash ring, point by point: who asks here is led to the server that Envoy would take.

As `RingHashLoadBalancer` builds it with its defaults (XX_HASH, at least 1024 points), in the same arithmetic: who gets
the last point where a division leaves a rest is decided by the rounding of doubles.
"""

import math
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache

from libs.assignment import hash64

LEAST_POINTS, MOST_POINTS = 1024, 8 * 1024 * 1024

Member = tuple[str, int]
"""A host as Envoy writes its address, and its weight."""


class Ring:
    """Over at least one member; members are told by their place among those given."""

    def __init__(self, members: tuple[Member, ...]) -> None:
        total = sum(weight for _, weight in members)
        shares = [weight / total for _, weight in members]
        scale = min(math.ceil(min(shares) * LEAST_POINTS) / min(shares), MOST_POINTS)
        points: list[tuple[int, int]] = []
        wanted = 0.0
        for place, (host, _) in enumerate(members):
            wanted += scale * shares[place]
            of_host = 0
            while len(points) < wanted:
                points.append((hash64(f"{host}_{of_host}"), place))
                of_host += 1
        points.sort()
        self._hashes = [hashed for hashed, _ in points]
        self._places = [place for _, place in points]
        self._members = len(members)

    def walk(self, point: int) -> Iterator[int]:
        """Every member once: the one that the point falls to, then whoever comes next on the ring."""
        start = bisect_left(self._hashes, point)
        seen: set[int] = set()
        for offset in range(len(self._places)):
            place = self._places[(start + offset) % len(self._places)]
            if place not in seen:
                seen.add(place)
                yield place
                if len(seen) == self._members:
                    return


@lru_cache(256)
def ring(members: tuple[Member, ...]) -> Ring:
    """A ring of two takes a millisecond to make."""
    return Ring(members)
