from datetime import UTC, datetime

import numpy as np
import pytest

from services.feature_store.domain.columns import Column, ValueType
from services.feature_store.domain.definitions import Transform, Transformation
from services.feature_store.domain.features import Status, computed
from services.feature_store.domain.transformations import transform
from tests.unit.feature_store import declared_features as d

NEW_YORK = "America/New_York"


def local(function, *moments, zone=NEW_YORK):
    micros = [None if m is None else int(datetime(*m, tzinfo=UTC).timestamp()) * d.SECOND for m in moments]
    return transform(Transformation("f", function, ("t",), zone), [Column.of(ValueType.TIMESTAMP, micros)]).objects()


def test_the_clock_on_the_wall_jumps_in_spring():
    """10 March 2013: from 01:59 to 03:00."""
    assert local(Transform.LOCAL_HOUR, (2013, 3, 10, 6, 59), (2013, 3, 10, 7, 0)) == [1, 3]


def test_an_hour_comes_twice_in_autumn():
    """3 November 2013: 01:30, and 01:30 again."""
    hours = local(Transform.LOCAL_HOUR, (2013, 11, 3, 5, 30), (2013, 11, 3, 6, 30), (2013, 11, 3, 7, 30))
    assert hours == [1, 1, 2]


def test_a_day_begins_at_local_midnight():
    moments = ((2013, 3, 11, 3, 59), (2013, 3, 11, 4, 0))
    assert local(Transform.LOCAL_WEEKDAY, *moments) == [7, 1]
    assert local(Transform.LOCAL_WEEKDAY, *moments, zone="UTC") == [1, 1]
    assert local(Transform.LOCAL_HOUR, *moments, zone="Asia/Kathmandu") == [9, 9]


def test_null_in_null_out():
    assert local(Transform.LOCAL_HOUR, None, (2013, 3, 10, 7, 0)) == [None, 3]


@pytest.mark.parametrize(
    ("function", "first", "second", "expected"),
    [
        (Transform.DIFFERENCE, [3.0, None, 1.0], [1.0, 1.0, None], [2.0, None, None]),
        (Transform.RATIO, [3.0, 1.0, 0.0, None], [2.0, 0.0, 5.0, 1.0], [1.5, None, 0.0, None]),
        (Transform.RATIO, [1.0], [-0.0], [None]),
    ],
)
def test_arithmetic(function, first, second, expected):
    columns = [Column.of(ValueType.DOUBLE, first), Column.of(ValueType.DOUBLE, second)]
    found = transform(Transformation("f", function, ("a", "b"), ""), columns)
    assert found.objects() == expected
    assert found.values[~found.valid].tolist() == [0.0] * expected.count(None)


def test_a_service_assembles_what_was_read_computed_and_sent():
    """On-demand features of stored ones, and of other on-demand ones."""
    wind = computed(Column.of(ValueType.DOUBLE, [4.0, None]))
    read = {(s.view.name, name): wind for s in d.PLAN.stored for name in s.features}
    sent = {
        "scheduled": Column.of(ValueType.TIMESTAMP, [0, None]),
        "distance": Column.of(ValueType.DOUBLE, [10.0, 20.0]),
    }
    features = dict(zip((f.name for f in d.PLAN.outputs), d.PLAN.assemble(read, sent), strict=True))
    assert d.answers(features["against_wind"]) == [(6.0, Status.PRESENT, 0), (None, Status.NULL, 0)]
    assert d.answers(features["per_wind"]) == [(0.0, Status.PRESENT, 0), (None, Status.NULL, 0)]
    assert d.answers(features["hour"]) == [(19, Status.PRESENT, 0), (None, Status.NULL, 0)]
    assert d.answers(features["miles"]) == [(10.0, Status.PRESENT, 0), (20.0, Status.PRESENT, 0)]


def test_a_service_asks_for_what_its_features_need_and_no_more():
    assert [key.name for key in d.PLAN.join_keys] == ["carrier", "origin"]
    assert [field.name for field in d.PLAN.request_fields] == ["distance", "scheduled"]
    assert [field.type for field in d.PLAN.outputs][:5] == [field.type for field in d.WEATHER.features]
    assert np.all([s.features == tuple(sorted(f.name for f in s.view.features)) for s in d.PLAN.stored])
