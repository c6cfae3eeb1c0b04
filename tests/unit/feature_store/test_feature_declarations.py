"""What may be declared: each fault by its path, all of them together."""

from dataclasses import replace

import pytest

from libs.errors import Faults, Invalid, NotFound
from services.feature_store.domain.columns import Field, ValueType
from services.feature_store.domain.declarations import LONGEST_WINDOW_US, check_entity, check_service, check_view
from services.feature_store.domain.definitions import (
    Aggregation,
    BatchSource,
    Entity,
    FeatureReference,
    FeatureService,
    FeatureView,
    Function,
    OnDemandSource,
    StreamSource,
    Transform,
    Transformation,
)
from tests.unit.feature_store import declared_features as d

NUMBER, TEXT, TIME = Field("number", d.D), Field("text", d.S), Field("time", d.T)


def faults_of(check, *definitions):
    with pytest.raises(Invalid) as raised:
        check(*definitions)
    return [f"{v.field}: {v.description}" for v in raised.value.violations]


def view_faults(view):
    return [fault.removeprefix("feature_view.") for fault in faults_of(check_view, view, d.ENTITIES, d.VIEWS, Faults())]


def on_demand(*made, fields=(NUMBER, TEXT, TIME)):
    return FeatureView("made", "", OnDemandSource(fields, made))


def stream(*aggregations):
    return FeatureView("counted", "airport", StreamSource((NUMBER, TEXT), aggregations))


def test_what_the_other_tests_use_may_be_declared():
    for entity in d.ENTITIES.values():
        check_entity(entity, Faults())
    for view in d.VIEWS.values():
        check_view(view, d.ENTITIES, d.VIEWS, Faults())
    assert check_service(d.SERVICE, d.VIEWS, d.ENTITIES) == d.PLAN


def test_entities():
    too_many = tuple(Field(f"k{i}", d.S) for i in range(5))
    assert faults_of(check_entity, Entity("", too_many), Faults()) == [
        "entity.name: '' is not 1 to 63 of [a-z0-9_], starting with a letter",
        "entity.join_keys: 1 to 4 are needed",
    ]
    assert faults_of(check_entity, Entity("a" * 64, ()), Faults())[1] == "entity.join_keys: 1 to 4 are needed"


def test_what_the_wire_found_is_reported_with_the_rest():
    found = Faults()
    found.add("entity.join_keys[0].type", "is not set")
    assert len(faults_of(check_entity, Entity("X", (NUMBER,)), found)) == 3


def test_batch_views():
    fields = (Field("wind", d.D), Field("wind", d.D), Field("origin", d.S), Field("_x", d.D))
    assert view_faults(FeatureView("V", "airport", BatchSource(fields), ttl_us=-1)) == [
        "name: 'V' is not 1 to 63 of [a-z0-9_], starting with a letter",
        "time_to_live: is negative",
        "batch.features[3].name: '_x' is not 1 to 63 of [a-z0-9_], starting with a letter",
        "batch.features[1]: 'wind' is there twice",
        "feature_view: 'origin' is a join key of the entity, too",
    ]
    assert view_faults(FeatureView("v", "", BatchSource(()))) == [
        "entity: is missing",
        "batch.features: 1 to 500 are needed",
    ]


def test_stream_views():
    made = stream(
        Aggregation("n", Function.COUNT, "number", d.HOUR),
        Aggregation("n", Function.SUM, "text", d.SECOND - 1),
        Aggregation("m", Function.MEAN, "", LONGEST_WINDOW_US + 1),
        Aggregation("origin", Function.MAX, "number", LONGEST_WINDOW_US),
    )
    assert view_faults(replace(made, ttl_us=1)) == [
        "time_to_live: only a batch view has one: a window says itself how far back it looks",
        "stream.aggregations[1]: 'n' is there twice",
        "stream.aggregations[0].field: COUNT reads none",
        "stream.aggregations[1].window: is not between 1 s and 31 days",
        "stream.aggregations[1].field: text (STRING) cannot be aggregated: not INT64, DOUBLE or BOOL",
        "stream.aggregations[2].window: is not between 1 s and 31 days",
        "stream.aggregations[2].field: '' is not an event field of this view",
        "feature_view: 'origin' is a join key of the entity, too",
    ]
    assert view_faults(stream()) == ["stream.aggregations: 1 to 500 are needed"]


def test_on_demand_views():
    made = on_demand(
        Transformation("a", Transform.LOCAL_HOUR, ("number",), "New York"),
        Transformation("a", Transform.RATIO, ("number",), "UTC"),
        Transformation("c", Transform.DIFFERENCE, ("number", "nothing"), ""),
        Transformation("d", Transform.DIFFERENCE, ("text", "weather:sky"), ""),
        Transformation("e", Transform.LOCAL_WEEKDAY, ("weather:observed",), ""),
        Transformation("f", Transform.LOCAL_WEEKDAY, ("time",), "../etc/passwd"),
    )
    path = "on_demand.transformations"
    assert view_faults(replace(made, entity="airport")) == [
        "entity: an on-demand view has none",
        f"{path}[1]: 'a' is there twice",
        f"{path}[0].time_zone: 'New York' is not an IANA time zone",
        f"{path}[0].inputs[0]: number (DOUBLE): LOCAL_HOUR takes TIMESTAMP",
        f"{path}[1].time_zone: RATIO has none",
        f"{path}[1].inputs: RATIO takes 2",
        f"{path}[2].inputs[1]: 'nothing' is not a request field of this view; another view's feature is `view:feature`",
        f"{path}[3].inputs[0]: text (STRING): DIFFERENCE takes DOUBLE or INT64",
        f"{path}[3].inputs[1]: sky (STRING): DIFFERENCE takes DOUBLE or INT64",
        f"{path}[4].time_zone: '' is not an IANA time zone",
        f"{path}[5].time_zone: '../etc/passwd' is not an IANA time zone",
    ]


def test_what_does_not_exist_is_not_found_and_all_of_it_is_named():
    made = on_demand(
        Transformation("a", Transform.DIFFERENCE, ("gone:x", "weather:gone"), ""),
    )
    with pytest.raises(NotFound) as raised:
        check_view(made, d.ENTITIES, d.VIEWS, Faults())
    assert raised.value.reason == "FEATURE_VIEW_NOT_FOUND"
    assert raised.value.message == "no feature view 'gone'; feature view 'weather' has no feature 'gone'"
    with pytest.raises(NotFound) as raised:
        check_view(FeatureView("v", "nobody", BatchSource((NUMBER,))), {}, {}, Faults())
    assert raised.value.reason == "ENTITY_NOT_FOUND"
    references = (FeatureReference("weather", "gone"), FeatureReference("delays", "gone", "other"))
    with pytest.raises(NotFound) as raised:
        check_service(FeatureService("s", references), d.VIEWS, d.ENTITIES)
    assert raised.value.reason == "FEATURE_NOT_FOUND"


def test_what_does_not_exist_is_one_fault_among_others():
    made = on_demand(Transformation("A", Transform.LOCAL_HOUR, ("gone:x",), "UTC"))
    assert view_faults(made) == [
        "on_demand.transformations[0].feature: 'A' is not 1 to 63 of [a-z0-9_], starting with a letter",
        "on_demand.transformations[0].inputs[0]: no feature view 'gone'",
    ]


def test_services():
    references = (
        FeatureReference("weather", "wind"),
        FeatureReference("", "wind"),
        FeatureReference("delays", "count_all_1h", "Count"),
    )
    assert faults_of(check_service, FeatureService("a/b", references), d.VIEWS, d.ENTITIES) == [
        "feature_service.name: is not 1 to 63 of [A-Za-z0-9_.-]",
        "feature_service.features[1]: 'wind' is there twice",
        "feature_service.features[1].type: is missing: this request feature has no view to say it",
        "feature_service.features[2].alias: 'Count' is not 1 to 63 of [a-z0-9_], starting with a letter",
    ]
    assert faults_of(check_service, FeatureService("s", ()), {}, {}) == [
        "feature_service.features: 1 to 1000 are needed"
    ]


def test_one_name_with_two_types():
    other = Entity("other", (Field("origin", ValueType.INT64),))
    views = d.VIEWS | {"others": FeatureView("others", "other", BatchSource((NUMBER,)))}
    references = (
        FeatureReference("weather", "wind"),
        FeatureReference("others", "number"),
        FeatureReference("", "scheduled", type=d.D),
        FeatureReference("clock", "hour"),
    )
    found = faults_of(check_service, FeatureService("s", references), views, d.ENTITIES | {"other": other})
    assert found == [
        "feature_service.features: join key 'origin' is wanted as INT64 and STRING",
        "feature_service.features: request feature 'scheduled' is wanted as DOUBLE and TIMESTAMP",
    ]


def test_a_description_is_not_a_book():
    book = "é" * 2049
    view = replace(FeatureView("made", "airport", BatchSource((NUMBER,))), description=book)
    assert view_faults(view) == ["description: is longer than 4096 bytes"]
    entity = Entity("made", (TEXT,), book)
    assert faults_of(check_entity, entity, Faults()) == ["entity.description: is longer than 4096 bytes"]
