"""Features written, read now and as they were, through a real server and real stores."""

import random

import pytest
from prometheus_client import REGISTRY

from penstock.feature_store.v1 import feature_serving_service_pb2 as pb
from penstock.feature_store.v1.value_pb2 import (
    FEATURE_STATUS_NOT_FOUND,
    FEATURE_STATUS_NULL,
    FEATURE_STATUS_PRESENT,
    FEATURE_STATUS_TOO_OLD,
)
from tests.integration.feature_store import flights_declared as f

MIDNIGHT = 1_362_873_600_000_000
JFK = ("AA", "JFK")
PRESENT, NULL, NOT_FOUND, TOO_OLD = (
    FEATURE_STATUS_PRESENT,
    FEATURE_STATUS_NULL,
    FEATURE_STATUS_NOT_FOUND,
    FEATURE_STATUS_TOO_OLD,
)


@pytest.fixture
async def flights(service):
    await f.declare(service)
    return service


async def test_a_vector_with_everything(flights):
    written = await flights.features.WriteFeatures(
        f.weather([("JFK", MIDNIGHT, 5.0, "clear"), ("LGA", MIDNIGHT, 2.5, None)])
    )
    assert (written.rows_written, written.rows_online) == (2, 2)
    pushed = await flights.features.PushEvents(
        f.departures(
            [("1", *JFK, MIDNIGHT + 10, 30.0), ("2", *JFK, MIDNIGHT + 20, None), ("3", "UA", "LGA", MIDNIGHT, 1.0)]
        )
    )
    assert (pushed.events_written, pushed.events_repeated) == (3, 0)
    answer = await flights.features.GetOnlineFeatures(f.online([JFK, ("AA", "LGA"), ("UA", None)], MIDNIGHT + 30))
    assert answer.as_of.ToMicroseconds() == MIDNIGHT + 30
    assert [feature.values.name for feature in answer.features] == [
        "departures_1h", "sum_3h", "mean_3h", "worst_1h", "wind", "clouds", "hour", "per_wind", "miles",
    ]  # fmt: skip
    assert f.by_name(answer.features) == {
        "departures_1h": [(2, PRESENT, MIDNIGHT + 20), (0, PRESENT, 0), (None, NOT_FOUND, 0)],
        "sum_3h": [(30.0, PRESENT, MIDNIGHT + 20), (0.0, PRESENT, 0), (None, NOT_FOUND, 0)],
        "mean_3h": [(30.0, PRESENT, MIDNIGHT + 20), (None, NULL, 0), (None, NOT_FOUND, 0)],
        "worst_1h": [(30.0, PRESENT, MIDNIGHT + 20), (None, NULL, 0), (None, NOT_FOUND, 0)],
        "wind": [(5.0, PRESENT, MIDNIGHT), (2.5, PRESENT, MIDNIGHT), (None, NOT_FOUND, 0)],
        "clouds": [("clear", PRESENT, MIDNIGHT), (None, NULL, MIDNIGHT), (None, NOT_FOUND, 0)],
        "hour": [(19, PRESENT, 0)] * 3,
        "per_wind": [(20.0, PRESENT, 0), (40.0, PRESENT, 0), (None, NULL, 0)],
        "miles": [(100.0, PRESENT, 0)] * 3,
    }


async def test_ages_are_counted_from_the_time_that_is_asked_for(flights):
    await flights.features.WriteFeatures(f.weather([("JFK", MIDNIGHT, 5.0, "clear")]))
    for at_us, expected in (
        (MIDNIGHT - 1, (None, NOT_FOUND, 0)),
        (MIDNIGHT + 3 * f.HOUR, (5.0, PRESENT, MIDNIGHT)),
        (MIDNIGHT + 3 * f.HOUR + 1, (None, TOO_OLD, MIDNIGHT)),
    ):
        answer = await flights.features.GetOnlineFeatures(f.online([JFK], at_us))
        assert f.by_name(answer.features)["wind"] == [expected]
    now = f.online([JFK], MIDNIGHT)
    now.ClearField("as_of")
    answer = await flights.features.GetOnlineFeatures(now)
    assert f.by_name(answer.features)["wind"] == [(None, TOO_OLD, MIDNIGHT)]
    assert answer.as_of.seconds > MIDNIGHT // 1_000_000


async def test_a_feature_that_is_not_sent_is_null_and_a_repeat_is_counted(flights):
    request = f.weather([("JFK", MIDNIGHT, 5.0, "clear")])
    del request.columns[2]
    await flights.features.WriteFeatures(request)
    answer = await flights.features.GetOnlineFeatures(f.online([JFK], MIDNIGHT))
    assert f.by_name(answer.features)["clouds"] == [(None, NULL, MIDNIGHT)]
    events = f.departures([("1", *JFK, MIDNIGHT, 1.0), ("2", *JFK, MIDNIGHT, 1.0), ("1", *JFK, MIDNIGHT, 1.0)])
    pushed = [await flights.features.PushEvents(events) for _ in range(2)]
    assert [(p.events_written, p.events_repeated) for p in pushed] == [(2, 1), (0, 3)]
    answer = await flights.features.GetOnlineFeatures(f.online([JFK], MIDNIGHT + 1))
    assert f.by_name(answer.features)["departures_1h"] == [(2, PRESENT, MIDNIGHT)]


async def test_a_day_replayed_is_what_history_says(flights):
    """Each vector is asked for at its time; the events between two come in any order, the clocks change at 7:00."""
    chance = random.Random(10)
    keys = [(c, o) for c in ("AA", "UA", "B6") for o in ("JFK", "LGA")]
    moments = sorted({MIDNIGHT + chance.randrange(0, 12 * 60) * 60_000_000 for _ in range(250)})
    served = []
    for i, at_us in enumerate(moments):
        await flights.features.WriteFeatures(
            f.weather([(chance.choice(("JFK", "LGA")), at_us, chance.choice((None, 0.1 * i, 7.0)), "x" * (i % 3))])
        )
        asked = [chance.choice([*keys, ("AA", None), ("ZZ", "JFK")]) for _ in range(3)]
        answer = await flights.features.GetOnlineFeatures(f.online(asked, at_us))
        served += [(key, at_us, i, f.by_name(answer.features)) for i, key in enumerate(asked)]
        happened = [
            (
                f"{i}.{j}",
                *chance.choice(keys),
                at_us + chance.choice((0, 0, 1, chance.randrange(60_000_000))),
                chance.choice((None, -3.0, 0.1 * j, 41.5)),
            )
            for j in range(chance.randrange(0, 4))
        ]
        if happened:
            await flights.features.PushEvents(f.departures(happened))
    chance.shuffle(served)
    found = await f.read_history(flights, f.historical([key for key, *_ in served], [at for _, at, *_ in served]))
    for name, answers in found.items():
        assert answers == [features[name][row] for _, _, row, features in served], name
    assert {status for answers in found.values() for _, status, _ in answers} == {PRESENT, NULL, NOT_FOUND}


async def test_history_comes_in_parts_and_keeps_rows_order_and_duplicates(flights):
    await flights.features.WriteFeatures(f.weather([("JFK", MIDNIGHT + i * f.HOUR, float(i), "") for i in range(100)]))
    times = [MIDNIGHT + (i * 7919 % 100) * f.HOUR for i in range(12_000)]
    request = f.historical([JFK] * len(times), times)
    sizes = [len(part.features[0].statuses) async for part in flights.features.GetHistoricalFeatures(request)]
    assert sizes == [5000, 5000, 2000]
    found = await f.read_history(flights, request)
    assert [value for value, _, _ in found["wind"]] == [float((at - MIDNIGHT) // f.HOUR) for at in times]


async def test_tenants_do_not_see_each_other(flights):
    other = {"metadata": (("x-penstock-tenant", "other"),)}
    await f.declare(flights, **other)
    await flights.features.WriteFeatures(f.weather([("JFK", MIDNIGHT, 5.0, "clear")]))
    await flights.features.PushEvents(f.departures([("1", *JFK, MIDNIGHT, 1.0)]))
    answer = await flights.features.GetOnlineFeatures(f.online([JFK], MIDNIGHT + 1), **other)
    assert f.by_name(answer.features)["wind"] == [(None, NOT_FOUND, 0)]
    assert f.by_name(answer.features)["departures_1h"] == [(0, PRESENT, 0)]
    assert (await f.read_history(flights, f.historical([JFK], [MIDNIGHT + 1]), **other))["wind"] == [
        (None, NOT_FOUND, 0)
    ]
    pushed = await flights.features.PushEvents(f.departures([("1", *JFK, MIDNIGHT, 1.0)]), **other)
    assert pushed.events_written == 1


async def test_ten_thousand_rows_at_once(flights):
    rows = [(f"A{i % 3000}", MIDNIGHT + i, float(i), "s") for i in range(10_000)]
    written = await flights.features.WriteFeatures(f.weather(rows), timeout=60)
    assert (written.rows_written, written.rows_online) == (10_000, 3000)
    asked = [("AA", f"A{i}") for i in range(1000)]
    answer = await flights.features.GetOnlineFeatures(f.online(asked, MIDNIGHT + 20_000), timeout=60)
    assert [value for value, _, _ in f.by_name(answer.features)["wind"]] == [float(9000 + i) for i in range(1000)]


async def test_metrics_count_what_was_served_and_written(flights):
    def sample(name, **labels):
        return REGISTRY.get_sample_value(name, labels) or 0.0

    served = {"feature_service": "flight.v1"}
    statuses = ("PRESENT", "NULL", "NOT_FOUND", "TOO_OLD")
    before = {s: sample("penstock_features_served_total", **served, status=s) for s in statuses}
    calls = sample("ai_features_computation_time_count", **served)
    kinds = {"row": "weather", "event": "delays", "repeat": "delays"}
    written = {k: sample("penstock_features_written_total", view=v, kind=k) for k, v in kinds.items()}
    await flights.features.WriteFeatures(f.weather([("JFK", MIDNIGHT, 5.0, None)]))
    await flights.features.PushEvents(f.departures([("1", *JFK, MIDNIGHT, 1.0), ("1", *JFK, MIDNIGHT, 1.0)]))
    await flights.features.GetOnlineFeatures(f.online([JFK, ("AA", "LGA")], MIDNIGHT + 1))
    after = {s: sample("penstock_features_served_total", **served, status=s) for s in statuses}
    assert {s: after[s] - before[s] for s in statuses} == {"PRESENT": 12, "NULL": 4, "NOT_FOUND": 2, "TOO_OLD": 0}
    assert sample("ai_features_computation_time_count", **served) == calls + 1
    assert 0 < sample("ai_features_missing_rate", **served) < 1
    now = {k: sample("penstock_features_written_total", view=v, kind=k) for k, v in kinds.items()}
    assert now == {kind: count + 1 for kind, count in written.items()}


async def test_a_service_of_request_features_alone_asks_no_store(flights):
    from penstock.feature_store.v1 import feature_registry_service_pb2 as reg
    from penstock.feature_store.v1 import feature_view_pb2 as fv

    made = fv.FeatureService(name="hour", features=[fv.FeatureReference(view="clock", feature="hour")])
    await flights.registry.CreateFeatureService(reg.CreateFeatureServiceRequest(feature_service=made))
    scheduled = f.sent([MIDNIGHT, None], [1.0, 1.0])[:1]
    answer = await flights.features.GetOnlineFeatures(
        pb.GetOnlineFeaturesRequest(feature_service="hour", request_features=scheduled)
    )
    assert f.by_name(answer.features) == {"hour": [(19, PRESENT, 0), (None, NULL, 0)]}
