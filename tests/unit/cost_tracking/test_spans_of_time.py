"""Whole hours and edges make up a span of time, exactly."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.cost_tracking.domain.spend import cover, hour_of

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
moments = st.integers(-4 * 3_600_000_000, 4 * 3_600_000_000).map(lambda us: NOON + timedelta(microseconds=us))
near_hours = st.builds(
    lambda hours, us: NOON + timedelta(hours=hours, microseconds=us), st.integers(-4, 4), st.integers(-1, 1)
)
bounds = st.one_of(st.none(), moments, near_hours)


@given(bounds, bounds, st.one_of(moments, near_hours))
def test_a_moment_is_in_exactly_one_part_of_the_span_or_in_none(since, until, moment):
    if since and until and since >= until:
        return
    parts = cover(since, until)
    hours = 0
    if parts.hours:
        first, last = parts.hours
        hour = hour_of(moment)
        hours = (first is None or hour >= first) and (last is None or hour < last)
    edges = sum(begin <= moment < end for begin, end in parts.edges)
    within = (since is None or since <= moment) and (until is None or moment < until)
    assert hours + edges == within


@given(bounds, bounds)
def test_edges_are_shorter_than_an_hour_and_hours_are_whole(since, until):
    if since and until and since >= until:
        return
    parts = cover(since, until)
    assert len(parts.edges) <= 2
    assert all(timedelta(0) < end - begin < timedelta(hours=1) for begin, end in parts.edges)
    assert all(bound is None or bound == hour_of(bound) for bound in parts.hours or ())


@given(st.integers(0, 3_600_000_000 - 1).map(lambda us: datetime.max.replace(tzinfo=UTC) - timedelta(microseconds=us)))
def test_the_last_hour_of_all_is_an_edge(since):
    parts = cover(since, None)
    assert all(begin == since for begin, _ in parts.edges)
    assert parts.hours is not None
    assert parts.hours[0] is not None
    assert parts.hours[0] >= since
