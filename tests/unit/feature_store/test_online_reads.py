"""What may be said of what stands online, and what not."""

import numpy as np
import pytest

from libs.errors import Unavailable
from services.feature_store.domain.features import Status
from services.feature_store.domain.history import Seen
from services.feature_store.domain.keys import instance_key
from services.feature_store.domain.online import SLACK_US, OnlineReader, OnlineRow
from services.feature_store.domain.writing import OnlineWriter, Writer
from tests.contract.features_in_memory import HistoryInMemory, OnlineInMemory
from tests.unit.feature_store import declared_features as d
from tests.unit.feature_store.point_in_time_oracle import Written

MIDNIGHT = 1_362_873_600_000_000
KEY = ("AA", "JFK")


class Store:
    def __init__(self):
        self.online = OnlineInMemory()
        self.writer = Writer(HistoryInMemory(), OnlineWriter(self.online))
        self.reader = OnlineReader(self.online)

    async def row(self, *written, tenant="local"):
        return await self.writer.write(tenant, d.STORED["weather"], d.rows(d.STORED["weather"], written))

    async def push(self, *written, ids=None):
        ids = ids or [f"{w.event_us}" for w in written]
        return await self.writer.push("local", d.STORED["delays"], d.rows(d.STORED["delays"], written), ids)

    async def read(self, view, feature, at_us, tenant="local"):
        found = await self.reader.read(tenant, d.PLAN, d.entity_columns([KEY]), at_us, 1)
        return d.answers(found[view, feature])[0]

    async def wind(self, at_us, tenant="local"):
        return await self.read("weather", "wind", at_us, tenant)

    async def count(self, at_us):
        return await self.read("delays", "count_all_1h", at_us)


@pytest.fixture
def store():
    return Store()


def weather(event_us, wind, created_us=0):
    values = {field.name: None for field in d.WEATHER.features} | {"wind": wind}
    return Written(KEY[1:], event_us, values, created_us)


def departure(event_us, delay=1.0, key=KEY):
    return Written(key, event_us, {"delay": delay, "late": True})


async def test_a_row_of_the_future_is_not_told(store):
    await store.row(weather(MIDNIGHT, 5.0))
    assert await store.wind(MIDNIGHT - 1) == (None, Status.NOT_FOUND, 0)
    assert await store.wind(MIDNIGHT) == (5.0, Status.PRESENT, MIDNIGHT)


async def test_exactly_as_old_as_allowed_is_fresh(store):
    await store.row(weather(MIDNIGHT, 5.0))
    assert await store.wind(MIDNIGHT + d.TTL) == (5.0, Status.PRESENT, MIDNIGHT)
    assert await store.wind(MIDNIGHT + d.TTL + 1) == (None, Status.TOO_OLD, MIDNIGHT)


async def test_the_newest_row_counts_even_if_it_says_null(store):
    assert await store.row(weather(MIDNIGHT, 5.0), weather(MIDNIGHT + 1, None)) == 1
    assert await store.wind(MIDNIGHT + 2) == (None, Status.NULL, MIDNIGHT + 1)


async def test_of_one_write_the_newest_row_counts_whatever_the_order(store):
    await store.row(
        weather(MIDNIGHT, 1.0, 7), weather(MIDNIGHT, 2.0, 9), weather(MIDNIGHT, 3.0, 8), weather(MIDNIGHT - 1, 4.0, 99)
    )
    assert (await store.wind(MIDNIGHT))[0] == 2.0


async def test_of_rows_that_tie_in_everything_the_last_counts(store):
    assert await store.row(weather(MIDNIGHT, 1.0, 7), weather(MIDNIGHT, 2.0, 7)) == 1
    assert (await store.wind(MIDNIGHT))[0] == 2.0
    assert await store.row(weather(MIDNIGHT, 3.0, 7)) == 1
    assert (await store.wind(MIDNIGHT))[0] == 3.0


async def test_an_older_row_changes_nothing(store):
    assert await store.row(weather(MIDNIGHT, 1.0, 7)) == 1
    assert await store.row(weather(MIDNIGHT - 1, 2.0, 99)) == 0
    assert await store.row(weather(MIDNIGHT, 3.0, 6)) == 0
    assert (await store.wind(MIDNIGHT))[0] == 1.0


async def test_tenants_are_apart(store):
    await store.row(weather(MIDNIGHT, 1.0), tenant="one")
    assert await store.wind(MIDNIGHT, tenant="other") == (None, Status.NOT_FOUND, 0)


async def test_a_row_that_cannot_be_read_counts_as_none_and_spoils_no_other(store):
    await store.push(departure(MIDNIGHT))
    torn = OnlineRow(instance_key("local", "airport", ["JFK"]), MIDNIGHT, 0, b"\x01torn")
    await store.online.put_rows(d.WEATHER.view_id, [torn])
    assert await store.wind(MIDNIGHT) == (None, Status.NOT_FOUND, 0)
    assert await store.count(MIDNIGHT + 1) == (1, Status.PRESENT, MIDNIGHT)


async def test_an_event_is_in_the_windows_after_it_and_not_in_its_own(store):
    await store.push(departure(MIDNIGHT))
    assert await store.count(MIDNIGHT) == (0, Status.PRESENT, 0)
    assert await store.count(MIDNIGHT + 1) == (1, Status.PRESENT, MIDNIGHT)
    assert await store.count(MIDNIGHT + d.HOUR) == (1, Status.PRESENT, MIDNIGHT)
    assert await store.count(MIDNIGHT + d.HOUR + 1) == (0, Status.PRESENT, 0)


async def test_late_events_fall_into_their_windows(store):
    await store.push(departure(MIDNIGHT))
    await store.push(departure(MIDNIGHT - d.HOUR), departure(MIDNIGHT - 5), ids=["late", "later"])
    assert await store.count(MIDNIGHT + 1) == (3 - 1, Status.PRESENT, MIDNIGHT)


async def test_equal_events_are_two_and_one_sent_twice_is_one(store):
    assert (await store.push(departure(MIDNIGHT), departure(MIDNIGHT), ids=["a", "b"])).tolist() == [Seen.NEW, Seen.NEW]
    assert (await store.push(departure(MIDNIGHT), ids=["a"])).tolist() == [Seen.REPEATED]
    assert await store.count(MIDNIGHT + 1) == (2, Status.PRESENT, MIDNIGHT)


async def test_an_id_sent_again_with_other_content_changes_nothing(store):
    await store.push(departure(MIDNIGHT), ids=["a"])
    other = [departure(MIDNIGHT, 99.0), departure(MIDNIGHT + 1), departure(MIDNIGHT, key=("UA", "JFK"))]
    for changed in other:
        assert (await store.push(changed, ids=["a"])).tolist() == [Seen.CONFLICTING]
    assert await store.read("delays", "max_delay_1h", MIDNIGHT + 2) == (1.0, Status.PRESENT, MIDNIGHT)
    assert await store.count(MIDNIGHT + 2) == (1, Status.PRESENT, MIDNIGHT)


async def test_windows_that_reach_before_what_is_kept_are_not_told(store):
    """Not a wrong count: the events of then may have gone."""
    await store.push(departure(MIDNIGHT))
    await store.push(departure(MIDNIGHT + 10 * d.HOUR + SLACK_US))
    kept_from = MIDNIGHT + 10 * d.HOUR - 3 * d.HOUR
    assert await store.count(kept_from + d.HOUR) == (0, Status.PRESENT, 0)
    assert await store.count(kept_from + d.HOUR - 1) == (None, Status.NOT_FOUND, 0)


async def test_a_push_that_got_halfway_is_completed_by_its_retry(store):
    class Down(OnlineInMemory):
        async def put_events(self, view_id, keep_us, events):
            raise Unavailable("STORE_UNAVAILABLE", "down")

    up, store.writer = store.writer, Writer(store.writer.history, OnlineWriter(Down()))
    with pytest.raises(Unavailable):
        await store.push(departure(MIDNIGHT), ids=["a"])
    store.writer = up
    assert (await store.push(departure(MIDNIGHT), ids=["a"])).tolist() == [Seen.REPEATED]
    assert await store.count(MIDNIGHT + 1) == (1, Status.PRESENT, MIDNIGHT)


async def test_each_row_of_a_request_gets_its_own_instance(store):
    await store.row(weather(MIDNIGHT, 1.0), Written(("LGA",), MIDNIGHT, weather(MIDNIGHT, 2.0).values))
    keys = [("AA", "LGA"), ("AA", None), ("UA", "JFK"), ("AA", "EWR"), ("UA", "LGA")]
    found = await store.reader.read("local", d.PLAN, d.entity_columns(keys), MIDNIGHT, len(keys))
    assert found["weather", "wind"].values.objects() == [2.0, None, 1.0, None, 2.0]
    assert found["weather", "wind"].statuses.tolist() == np.array([1, 3, 1, 3, 1]).tolist()
