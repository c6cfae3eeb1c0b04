"""The ids of requests: no two alike, and of the form that everybody reads."""

from __future__ import annotations

import threading
import uuid

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.envoy_filter.native import Filters

NUMBERS = st.integers(0, 2**64 - 1)


@given(origin=NUMBERS, first=NUMBERS)
def test_an_id_is_a_random_uuid_in_form(filters: Filters, origin: int, first: int):
    for text in filters.ids(origin, first, 3):
        made = uuid.UUID(text)
        assert (str(made), made.version, made.variant) == (text, 4, uuid.RFC_4122)


@given(origin=NUMBERS, counts=st.sets(NUMBERS, min_size=2, max_size=50))
def test_counts_of_an_origin_never_meet(filters: Filters, origin: int, counts: set[int]):
    assert len({filters.ids(origin, count, 1)[0] for count in counts}) == len(counts)


@given(origins=st.sets(NUMBERS, min_size=2, max_size=50), count=NUMBERS)
def test_origins_are_told_apart(filters: Filters, origins: set[int], count: int):
    assert len({filters.ids(origin, count, 1)[0] for origin in origins}) == len(origins)


def test_every_thread_has_an_origin_of_its_own(filters: Filters):
    made: list[str] = []
    threads = [threading.Thread(target=lambda: made.extend(filters.own_ids(1000))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 8000
