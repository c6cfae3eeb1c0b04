"""Token buckets, beside a bucket that counts its tokens."""

from __future__ import annotations

import itertools
import threading
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.envoy_filter.native import Filters

_ids = itertools.count(1)


def a_bucket() -> int:
    """One that no test has taken from. Low bits choose a group: these have one each."""
    return next(_ids)


class Counted:
    """The textbook's bucket: tokens, as many as time brings and room there is."""

    def __init__(self, interval: int, burst: int, now: int) -> None:
        self._interval, self._burst, self._tokens, self._at = interval, burst, Fraction(burst), now

    def take(self, now: int) -> tuple[bool, int]:
        self._tokens = min(Fraction(self._burst), self._tokens + Fraction(now - self._at, self._interval))
        self._at = now
        if self._tokens < 1:
            return False, 0
        self._tokens -= 1
        return True, int(self._tokens)


@given(
    interval=st.integers(1, 10**12),
    burst=st.integers(1, 1000),
    begin=st.integers(10**9, 2**61),
    apart=st.lists(st.fractions(0, 5), min_size=1, max_size=200),
)
def test_it_gives_what_a_counted_bucket_gives(filters: Filters, interval, burst, begin, apart):
    bucket, now = a_bucket(), begin
    counted = Counted(interval, burst, now)
    for step in apart:
        now += int(step * interval)
        done = filters.take(bucket, now, interval, burst)
        assert (done.taken, done.left) == counted.take(now)
        if not done.taken:
            assert not filters.take(bucket, now + done.wait - 1, interval, burst).taken or done.wait == 0
            return


@given(interval=st.integers(1000, 10**9), burst=st.integers(1, 50))
def test_the_wait_that_it_tells_is_exact(filters: Filters, interval, burst):
    bucket, now = a_bucket(), 10**12
    for _ in range(burst):
        assert filters.take(bucket, now, interval, burst).taken
    refused = filters.take(bucket, now, interval, burst)
    assert not refused.taken
    assert not filters.take(bucket, now + refused.wait - 1, interval, burst).taken
    assert filters.take(bucket, now + refused.wait, interval, burst).taken


@given(interval=st.integers(1, 10**9), burst=st.integers(1, 50))
def test_what_is_given_back_can_be_taken(filters: Filters, interval, burst):
    bucket, now = a_bucket(), 10**12
    for _ in range(burst):
        filters.take(bucket, now, interval, burst)
    filters.give_back(bucket, interval)
    assert filters.take(bucket, now, interval, burst).taken
    assert not filters.take(bucket, now, interval, burst).taken


def test_a_crowd_in_one_group_pushes_out_the_fullest_only(filters: Filters):
    group, now, interval, burst = 16_384, 10**15, 10**6, 10
    mine = 16_000 + group * 1000
    for _ in range(burst):
        assert filters.take(mine, now, interval, burst).taken
    for other in range(200):
        assert filters.take(16_000 + group * other, now, interval, burst).taken
    assert not filters.take(mine, now, interval, burst).taken


def test_threads_together_take_no_more_than_there_is(filters: Filters):
    bucket, burst = a_bucket(), 5000
    taken: list[int] = []

    def run() -> None:
        taken.append(sum(filters.take(bucket, 10**12, 10**9, burst).taken for _ in range(2000)))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == burst
