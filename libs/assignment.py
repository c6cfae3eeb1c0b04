"""Who gets what: the one function that Envoy and Python share.

`bucket = XXH64(utf8(unit + ":" + salt), seed 0) mod 10000`. Envoy computes the same: its header hash policy takes the
unseeded XXH64 of the header's value, which a regex rewrite has extended by the salt, modulo the total weight of the
weighted clusters; their entries stand in bucket order and sum to 10000.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import xxhash

BUCKETS = 10_000


def hash64(text: str) -> int:
    """Envoy's hash of a header's value, and of a point on its ring: the unseeded XXH64."""
    return xxhash.xxh64_intdigest(text.encode())


def bucket(unit: str, salt: str) -> int:
    """0 to 9999."""
    return hash64(f"{unit}:{salt}") % BUCKETS


@dataclass(frozen=True, order=True)
class Range:
    """Buckets [start, end) that a variant owns."""

    start: int
    end: int
    variant: str
    version: str


def ranges(weights: Sequence[tuple[str, str, int]], *, first: int = 0, coverage: int = BUCKETS) -> tuple[Range, ...]:
    """Ranges of (variant, version, weight in buckets), in order, from bucket `first`.

    Variant i owns [first + cum_i, first + cum_i + floor(weight_i * coverage / 10000)), where cum_i is the sum of the
    *full* weights before it: raising coverage only adds units. Ranges that would be empty are left out.
    """
    found: list[Range] = []
    start = first
    for variant, version, weight in weights:
        end = start + weight * coverage // BUCKETS
        if end > start:
            found.append(Range(start, end, variant, version))
        start += weight
    return tuple(found)


def owner(owned: Iterable[Range], of_bucket: int) -> Range | None:
    """The range that holds the bucket; None when it is a gap."""
    return next((r for r in owned if r.start <= of_bucket < r.end), None)
