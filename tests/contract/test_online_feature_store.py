"""What an online store promises, run on every one."""

import asyncio
import struct

import pytest

from libs.errors import Unavailable
from libs.redis import open_redis
from services.feature_store.domain.codec import TIMES_OFFSET
from services.feature_store.domain.online import Answer, Events, EventSpan, OnlineEvent, OnlineRow, Question
from services.feature_store.stores.online import RedisOnlineStore
from tests.contract.features_in_memory import OnlineInMemory

MIDNIGHT = 1_362_873_600_000_001
JFK, LGA = b"5:local7:airport3:JFK", b"5:local7:airport3:LGA"


@pytest.fixture
async def in_memory():
    return OnlineInMemory()


@pytest.fixture
async def in_redis(redis_url):
    client = open_redis(redis_url)
    store = RedisOnlineStore(client)
    assert not await store.check()
    await store.filled()
    yield store
    await client.aclose()


@pytest.fixture(params=["in_memory", "in_redis"])
def store(request):
    return request.getfixturevalue(request.param)


def row(event_us, created_us=0, text=b"", key=JFK):
    return OnlineRow(key, event_us, created_us, b"\0" * TIMES_OFFSET + struct.pack("<qq", event_us, created_us) + text)


async def stands(store, view_id=1, key=JFK):
    return (await store.read([Question(key, [view_id], [])]))[0].rows[view_id]


async def span(store, since_us, until_us, key=JFK):
    return (await store.read([Question(key, [], [EventSpan(2, since_us, until_us)])]))[0].events[2]


async def test_nothing_stands_where_nothing_was_put(store):
    assert await stands(store) is None
    assert await span(store, 0, MIDNIGHT) == Events(None, [])
    assert list(await store.read([])) == []


@pytest.mark.parametrize(
    ("first", "second", "newer"),
    [
        (row(MIDNIGHT), row(MIDNIGHT + 1), True),
        (row(MIDNIGHT), row(MIDNIGHT - 1, MIDNIGHT), False),
        (row(MIDNIGHT, 5), row(MIDNIGHT, 6), True),
        (row(MIDNIGHT, 5), row(MIDNIGHT, 4), False),
        (row(MIDNIGHT, 5), row(MIDNIGHT, 5), True),
        (row(MIDNIGHT, 5, b"first"), row(MIDNIGHT, 5, b"second"), True),
        (row(-MIDNIGHT), row(-MIDNIGHT + 1), True),
        (row(2**53), row(2**53 - 1), False),
        (row(-(2**53), 2**53), row(-(2**53), 2**53 - 1), False),
    ],
)
async def test_the_greatest_event_time_and_then_created_time_stands(store, first, second, newer):
    assert await store.put_rows(1, [first]) == 1
    assert await store.put_rows(1, [second]) == int(newer)
    assert await stands(store) == (second if newer else first).packed


async def test_whoever_writes_at_once_the_newest_stands(store):
    rows = [row(MIDNIGHT + i % 20, i) for i in range(200)]
    await asyncio.gather(*(store.put_rows(1, [r]) for r in rows))
    assert await stands(store) == max(rows, key=lambda r: (r.event_us, r.created_us)).packed


async def test_many_rows_of_many_instances(store):
    keys = [b"%d" % i for i in range(1234)]
    assert await store.put_rows(1, [row(MIDNIGHT, key=key) for key in keys]) == len(keys)
    answers = await store.read([Question(key, [1], []) for key in keys])
    assert {answer.rows[1] for answer in answers} == {row(MIDNIGHT).packed}


async def test_views_and_instances_are_apart(store):
    await store.put_rows(1, [row(MIDNIGHT, text=b"one")])
    await store.put_rows(12, [row(MIDNIGHT, text=b"twelve")])
    await store.put_rows(1, [row(MIDNIGHT, text=b"lga", key=LGA)])
    await store.put_events(2, 100, [OnlineEvent(JFK, MIDNIGHT, b"e")])
    asked = [
        Question(LGA, [12, 1], [EventSpan(2, 0, MIDNIGHT * 2)]),
        Question(JFK, [1, 12], [EventSpan(2, 0, MIDNIGHT * 2)]),
    ]
    assert list(await store.read(asked)) == [
        Answer({12: None, 1: row(MIDNIGHT, text=b"lga").packed}, {2: Events(None, [])}),
        Answer(
            {1: row(MIDNIGHT, text=b"one").packed, 12: row(MIDNIGHT, text=b"twelve").packed},
            {2: Events(MIDNIGHT, [b"e"])},
        ),
    ]


async def test_a_span_holds_its_first_moment_and_not_its_last(store):
    await store.put_events(2, 1000, [OnlineEvent(JFK, MIDNIGHT + i, b"%d" % i) for i in (3, 1, 2)])
    assert await span(store, MIDNIGHT + 1, MIDNIGHT + 3) == Events(MIDNIGHT + 3, [b"1", b"2"])
    assert await span(store, MIDNIGHT + 3, MIDNIGHT + 4) == Events(MIDNIGHT + 3, [b"3"])
    assert await span(store, MIDNIGHT + 4, MIDNIGHT + 9) == Events(MIDNIGHT + 3, [])


async def test_an_event_sent_again_is_there_once(store):
    event = OnlineEvent(JFK, MIDNIGHT, b"same")
    await store.put_events(2, 1000, [event, event])
    await store.put_events(2, 1000, [event])
    assert await span(store, MIDNIGHT, MIDNIGHT + 1) == Events(MIDNIGHT, [b"same"])


async def test_events_far_behind_the_newest_go(store):
    await store.put_events(2, 100, [OnlineEvent(JFK, MIDNIGHT - i, b"%d" % i) for i in (100, 101, 0)])
    assert (await span(store, 0, MIDNIGHT + 1)).packed == [b"100", b"0"]
    await store.put_events(
        2, 100, [OnlineEvent(JFK, MIDNIGHT - 500, b"late"), OnlineEvent(LGA, MIDNIGHT - 500, b"first")]
    )
    assert (await span(store, 0, MIDNIGHT + 1)).packed == [b"100", b"0"]
    assert await span(store, 0, MIDNIGHT + 1, LGA) == Events(MIDNIGHT - 500, [b"first"])
    await store.put_events(2, 100, [OnlineEvent(JFK, MIDNIGHT + 100, b"new")])
    assert (await span(store, 0, MIDNIGHT + 101)).packed == [b"0", b"new"]


async def test_events_before_1970_are_kept_as_well(store):
    await store.put_events(2, 10, [OnlineEvent(JFK, -MIDNIGHT, b"a"), OnlineEvent(JFK, -MIDNIGHT - 11, b"b")])
    assert await span(store, -MIDNIGHT - 99, 0) == Events(-MIDNIGHT, [b"a"])


async def test_redis_may_forget_the_scripts(in_redis, redis_url):
    await in_redis.put_rows(1, [row(MIDNIGHT)])
    client = open_redis(redis_url)
    await client.script_flush()
    await client.aclose()
    assert await in_redis.put_rows(1, [row(MIDNIGHT + 1)]) == 1


async def test_a_wreck_in_redis_gives_way(in_redis, redis_url):
    client = open_redis(redis_url)
    await client.hset(b"fs:{" + JFK + b"}", "1", b"wreck")
    await client.aclose()
    assert await in_redis.put_rows(1, [row(MIDNIGHT)]) == 1


async def test_no_redis_is_unavailable():
    store = RedisOnlineStore(open_redis("redis://127.0.0.1:1/0"))
    for call in (
        store.put_rows(1, [row(MIDNIGHT)]),
        store.put_events(2, 1, [OnlineEvent(JFK, MIDNIGHT, b"")]),
        store.read([Question(JFK, [1], [])]),
    ):
        with pytest.raises(Unavailable) as raised:
            await call
        assert raised.value.reason == "STORE_UNAVAILABLE"


async def test_an_empty_redis_is_not_read(in_redis, redis_url):
    """It would say that nothing was ever written."""
    assert await in_redis.check()
    client = open_redis(redis_url)
    await client.flushall()
    await client.aclose()
    with pytest.raises(Unavailable, match="restored"):
        await stands(in_redis)
    assert not await in_redis.check()
    assert not in_redis.readable
    await in_redis.filled()
    assert await in_redis.check()
    assert in_redis.readable
    assert await stands(in_redis) is None
