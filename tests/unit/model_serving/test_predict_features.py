"""What a caller gives against what a feature service asks."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest

from libs.errors import Invalid
from services.model_serving.domain.features import (
    Contract,
    Feature,
    FeatureStatus,
    Field,
    ValueType,
    asked,
    convert,
    vector,
)

INT64, DOUBLE, STRING, BOOL, TIMESTAMP = ValueType
CONTRACT = Contract(
    "flights",
    join_keys=(Field("tailnum", STRING),),
    request_fields=(Field("distance", DOUBLE),),
    outputs=(Field("seats", INT64), Field("delay_1h", DOUBLE), Field("distance", DOUBLE)),
)


def blamed(raised):
    return {violation.field for violation in raised.value.violations}


def test_keys_and_request_features_are_fetched_by_their_types():
    said = asked(CONTRACT, {"tailnum": "N14228"}, {"distance": 1400})
    assert said.query.entities == {"tailnum": (STRING, "N14228")}
    assert said.query.request_features == {"distance": (DOUBLE, 1400.0)}
    assert said.overrides == {"distance": Feature("distance", 1400.0, FeatureStatus.PRESENT)}


def test_a_stored_feature_that_is_given_overrides():
    said = asked(CONTRACT, {"tailnum": "N14228"}, {"distance": 1400, "seats": "55"})
    assert said.overrides["seats"] == Feature("seats", 55, FeatureStatus.PRESENT)
    fetched = [
        Feature("seats", 100, FeatureStatus.PRESENT, 7),
        Feature("delay_1h", None, FeatureStatus.TOO_OLD, 5),
        Feature("distance", 1400.0, FeatureStatus.PRESENT),
    ]
    assert vector(CONTRACT, fetched, said.overrides) == (said.overrides["seats"], *fetched[1:])


def test_when_everything_is_given_nothing_is_fetched():
    contract = Contract("own", (Field("id", STRING),), (), (Field("a", DOUBLE), Field("b", DOUBLE)))
    said = asked(contract, {}, {"a": 1, "b": None})
    assert said.query is None
    assert [f.status for f in vector(contract, [], said.overrides)] == [FeatureStatus.PRESENT, FeatureStatus.NULL]


def test_every_fault_is_said_at_once():
    with pytest.raises(Invalid) as raised:
        asked(CONTRACT, {"airport": "JFK"}, {"speed": 1, "seats": "many"})
    assert blamed(raised) == {
        "entities[airport]",
        "entities[tailnum]",
        "features[speed]",
        "features[seats]",
        "features[distance]",
    }


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3.0, INT64, 3),
        ("3", INT64, 3),
        (True, INT64, 1),
        (3, DOUBLE, 3.0),
        ("3.5", DOUBLE, 3.5),
        ("true", BOOL, True),
        ("2013-03-10T03:00:00-04:00", TIMESTAMP, datetime(2013, 3, 10, 7, tzinfo=UTC)),
        (datetime(2013, 3, 10, 7, tzinfo=UTC), TIMESTAMP, datetime(2013, 3, 10, 7, tzinfo=UTC)),
        ("x", STRING, "x"),
        (None, INT64, None),
    ],
)
def test_a_value_is_read_as_its_type(value, kind, expected):
    assert convert(value, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3.5, INT64),
        ("3.5", INT64),
        ("many", DOUBLE),
        (1, BOOL),
        ("yes", BOOL),
        (1, STRING),
        ("2013-03-10T03:00:00", TIMESTAMP),
        (1362898800, TIMESTAMP),
        (2**63, INT64),
        (str(-(2**63) - 1), INT64),
        (1e300, INT64),
        ("9" * 10_000, INT64),
        ("9999-12-31T23:59:59-12:00", TIMESTAMP),
        ("0001-01-01T00:00:00+12:00", TIMESTAMP),
        (datetime(2013, 3, 10, tzinfo=timezone(timedelta(hours=1))), DOUBLE),
    ],
)
def test_a_value_of_another_type_is_refused(value, kind):
    with pytest.raises(ValueError, match=r".+"):
        convert(value, kind)


def test_as_a_number():
    def number(value):
        return Feature("f", value, FeatureStatus.PRESENT).number

    assert (number(True), number(7), number(0.5)) == (1.0, 7.0, 0.5)
    assert number(datetime(1970, 1, 1, 0, 1, tzinfo=UTC)) == 60.0
    assert math.isnan(number(None))
    assert math.isnan(number("text"))
