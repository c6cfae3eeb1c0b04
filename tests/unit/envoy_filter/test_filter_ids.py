"""The ids of requests: no two alike, and of the form that everybody reads."""

from __future__ import annotations

import threading
import uuid

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.envoy_filter.native import Filters

DRAWN_AT_ONCE = 256


@given(st.binary(min_size=16, max_size=16))
def test_an_id_is_the_random_uuid_of_its_bytes(filters: Filters, random: bytes):
    assert filters.id_of(random) == str(uuid.UUID(bytes=random, version=4))


def test_no_id_comes_twice_on_any_thread(filters: Filters):
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(filters.new_ids(4 * DRAWN_AT_ONCE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == len(made) == 32 * DRAWN_AT_ONCE
    assert {uuid.UUID(text).version for text in made} == {4}


def test_every_bit_of_an_id_is_drawn(filters: Filters):
    """Of 1,024 draws no bit is the same in each, save those that say which form it is."""
    made = [uuid.UUID(text).int for text in filters.new_ids(4 * DRAWN_AT_ONCE)]
    always, never = made[0], made[0]
    for number in made:
        always, never = always & number, never | number
    assert (always, never ^ (2**128 - 1)) == (0x4 << 76 | 0x8 << 60, 0xB << 76 | 0x4 << 60)
