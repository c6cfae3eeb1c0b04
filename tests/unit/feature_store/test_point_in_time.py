"""The join against the brute force, and what is served online against both."""

import asyncio

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.feature_store.domain.columns import no_rows
from services.feature_store.domain.history import HistoryReader, join
from services.feature_store.domain.online import OnlineReader
from services.feature_store.domain.writing import OnlineWriter, Writer
from tests.contract.features_in_memory import HistoryInMemory, OnlineInMemory
from tests.unit.feature_store import declared_features as d
from tests.unit.feature_store import point_in_time_oracle as oracle
from tests.unit.feature_store.point_in_time_oracle import Written

MIDNIGHT = 1_362_873_600_000_000
# one behind the other they say the same
CARRIERS, ORIGINS = ("AA", "A"), ("JFK", "AJFK")
# few enough to meet, and to miss by 1 µs, at the edges of windows and of the time to live
moments = st.builds(lambda hours, off: MIDNIGHT + hours * d.HOUR + off, st.integers(-2, 2), st.sampled_from((-1, 0, 1)))
numbers = st.one_of(
    st.none(), st.integers(-5, 300).map(float), st.floats(-1e9, 1e9), st.sampled_from((0.1, -0.0, 1e15, 1e-9))
)
weather_rows = st.builds(
    Written,
    key=st.tuples(st.sampled_from(ORIGINS)),
    event_us=moments,
    values=st.fixed_dictionaries(
        {
            "wind": st.one_of(st.none(), st.floats(allow_nan=False)),
            "sky": st.one_of(st.none(), st.text(max_size=5)),
            "ice": st.one_of(st.none(), st.booleans()),
            "seen": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
            "observed": st.one_of(st.none(), moments),
        }
    ),
    created_us=st.sampled_from((MIDNIGHT, MIDNIGHT + 1)),
)
events = st.builds(
    Written,
    key=st.tuples(st.sampled_from(CARRIERS), st.sampled_from(ORIGINS)),
    event_us=moments,
    values=st.fixed_dictionaries({"delay": numbers, "late": st.one_of(st.none(), st.booleans())}),
)
asked = st.tuples(
    st.tuples(
        st.one_of(st.none(), st.sampled_from(CARRIERS)), st.one_of(st.none(), st.sampled_from((*ORIGINS, "LGA")))
    ),
    moments,
)


def expected(rows, happened, key, at_us):
    """Everything that is stored, by the oracle."""
    found = {}
    for field in d.WEATHER.features:
        found["weather", field.name] = oracle.newest(rows, field.name, key[1:], at_us, d.TTL)
    for a in d.WINDOWS:
        found["delays", a.feature] = oracle.windowed(happened, a.function.value, a.field, a.window_us, key, at_us)
    return found


@settings(max_examples=150, deadline=None)
@given(
    st.lists(weather_rows, min_size=8, max_size=25),
    st.lists(events, min_size=15, max_size=40),
    st.lists(asked, min_size=15, max_size=25),
)
def test_the_join_is_the_brute_force_s(rows, happened, requests):
    history = [d.rows(s, rows if s.view.name == "weather" else happened) for s in d.PLAN.stored]
    at_us = np.array([at for _, at in requests], np.int64)
    found = join(d.PLAN, history, d.entity_columns([key for key, _ in requests]), at_us)
    wanted = [expected(rows, happened, key, at) for key, at in requests]
    for name, feature in found.items():
        assert d.answers(feature) == [row[name] for row in wanted], name


def test_nothing_is_known_before_anything_was_written():
    history = [no_rows((*s.entity.join_keys, *s.view.stored)) for s in d.PLAN.stored]
    found = join(d.PLAN, history, d.entity_columns([("AA", "JFK"), (None, "JFK")]), np.array([MIDNIGHT, MIDNIGHT]))
    assert d.answers(found["weather", "wind"]) == [(None, oracle.NOT_FOUND, 0)] * 2
    assert d.answers(found["delays", "count_all_1h"]) == [(0, oracle.PRESENT, 0), (None, oracle.NOT_FOUND, 0)]
    assert d.answers(found["delays", "sum_delay_1h"]) == [(0.0, oracle.PRESENT, 0), (None, oracle.NOT_FOUND, 0)]
    assert d.answers(found["delays", "mean_delay_1h"]) == [(None, oracle.NULL, 0), (None, oracle.NOT_FOUND, 0)]


steps = st.one_of(
    st.tuples(st.just("row"), weather_rows), st.tuples(st.just("event"), events), st.tuples(st.just("ask"), asked)
)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, min_size=20, max_size=60))
def test_what_was_served_online_is_what_history_says(steps):
    """Replayed in order of time, each read at its own time: equal to the last bit, times and statuses included."""
    when = {"row": lambda w: w.event_us, "event": lambda w: w.event_us, "ask": lambda a: a[1]}
    # at one instant a row is known to who asks, an event is not yet
    rank = {"row": 0, "ask": 1, "event": 2}
    steps = sorted(steps, key=lambda step: (when[step[0]](step[1]), rank[step[0]]))
    asyncio.run(_replay(steps))


async def _replay(steps):
    history, online = HistoryInMemory(), OnlineInMemory()
    writer, reader = Writer(history, OnlineWriter(online)), OnlineReader(online)
    served = []
    for i, (what, step) in enumerate(steps):
        if what == "row":
            await writer.write("local", d.STORED["weather"], d.rows(d.STORED["weather"], [step]))
        elif what == "event":
            await writer.push("local", d.STORED["delays"], d.rows(d.STORED["delays"], [step]), [str(i)])
        else:
            key, at_us = step
            read = await reader.read("local", d.PLAN, d.entity_columns([key]), at_us, 1)
            served.append((key, at_us, {name: d.answers(feature)[0] for name, feature in read.items()}))
    if served:
        at_us = np.array([at for _, at, _ in served], np.int64)
        known = await HistoryReader(history).rows(d.PLAN, at_us)
        found = join(d.PLAN, known, d.entity_columns([key for key, _, _ in served]), at_us)
        for name, feature in found.items():
            assert d.answers(feature) == [row[name] for _, _, row in served], name
