"""Predictions in JSON: what a document may say, what is told of a wrong one, how an answer is written."""

import json
import math

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Invalid
from penstock.model_serving.v1 import prediction_service_pb2 as pb
from services.model_serving.servers import json_answer, json_question

JSON = "application/json"


def read(document):
    return json_question.read(JSON, json.dumps(document).encode())


def blamed(document, content_type=JSON):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(Invalid) as raised:
        json_question.read(content_type, data)
    return {violation.field: violation.description for violation in raised.value.violations}


def test_everything_that_can_be_asked():
    asked = read(
        {
            "model_id": "delays",
            "model_version": "2",
            "entities": {"tailnum": "N1", "flight": 7},
            "features": {"distance": 9.5, "late": True, "carrier": None},
            "as_of": "2013-03-04T10:00:00Z",
            "include_features": True,
        }
    )
    assert (asked.model, asked.version, asked.include_features) == ("delays", "2", True)
    assert asked.entities == {"tailnum": "N1", "flight": 7}
    assert asked.features == {"distance": 9.5, "late": True, "carrier": None}
    assert asked.as_of.isoformat() == "2013-03-04T10:00:00+00:00"


def test_an_array_is_a_tensor_in_row_order():
    asked = read({"model_id": "m", "features": {"X": [[1, 2], [3, 4]], "Y": [5]}})
    assert asked.features == {"X[0]": 1, "X[1]": 2, "X[2]": 3, "X[3]": 4, "Y[0]": 5}


def test_whole_numbers_are_exact_beyond_what_a_double_holds():
    assert read({"model_id": "m", "entities": {"id": 2**63 - 1}}).entities == {"id": 2**63 - 1}


def test_null_is_as_good_as_nothing():
    asked = read(dict.fromkeys(json_question.FIELDS) | {"model_id": "m"})
    assert asked == read({"model_id": "m"})


def test_every_fault_is_told_at_once():
    faults = blamed(
        {
            "model": "m",
            "model_version": 2,
            "entities": {"a": [1], "b": {}, "c": 2**63},
            "features": {"X": [], "Y": [1, {}], "Z": {}},
            "as_of": "yesterday",
            "include_features": "yes",
        }
    )
    assert set(faults) == {
        "model",
        "model_id",
        "model_version",
        "entities[a]",
        "entities[b]",
        "entities[c]",
        "features[X]",
        "features[Y]",
        "features[Z]",
        "as_of",
        "include_features",
    }
    assert faults["model"] == f"no such field; there are {', '.join(json_question.FIELDS)}"
    assert faults["model_version"] == "must be text, is a number"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b'{"model_id":', "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"model_id": NaN}', "NaN is no number"),
        (b'{"model_id": "a", "model_id": "b"}', "given twice"),
        (b'{"model_id": "\\ud800"}', "not JSON"),
        (b"[1]", "must be a JSON object"),
        (b"[" * 100_000, "that deep"),
        (b'{"model_id": ' + b"9" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_document(data, words):
    assert words in blamed(data)[""]


def test_numbers_that_no_double_holds():
    assert blamed(b'{"model_id": "m", "features": {"x": 1e999}}') == {"features[x]": "is beyond what a double holds"}


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
def test_another_type_is_refused_for_browsers_send_it_to_anybody(content_type):
    assert set(blamed({"model_id": "m"}, content_type)) == {"content-type"}


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_the_type_as_clients_write_it(content_type):
    assert json_question.read(content_type, b'{"model_id": "m"}').model == "m"


def faults(data):
    """None where there are none."""
    try:
        json_question.read(JSON, data)
    except Invalid as refused:
        return refused.violations
    return None


@given(st.binary())
def test_no_bytes_are_a_fault_of_ours(data):
    assert faults(data)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_value_is_a_fault_of_ours(value):
    found = faults(json.dumps({"model_id": "m", "features": {"x": value}}).encode())
    assert found is None or found


def said(**more):
    latency = Duration(nanos=1_250_000)
    return pb.PredictResponse(model="delays", version="2", latency=latency, request_id="r", **more)


def written(**more):
    return MessageToDict(json_answer.write(said(**more)), preserving_proto_field_name=True)


def test_a_label_with_its_probability():
    answer = written(label="late", probabilities=[0.25, 0.75], class_labels=["on time", "late"])
    assert (answer["prediction"], answer["probability"]) == ("late", 0.75)
    assert answer["probabilities"] == {"on time": 0.25, "late": 0.75}
    assert (answer["model_id"], answer["model_version"], answer["latency_ms"]) == ("delays", "2", 1.25)


def test_a_class_without_labels():
    answer = written(class_index=1, probabilities=[0.25, 0.75])
    assert (answer["prediction"], answer["probability"]) == (1, 0.75)
    assert answer["probabilities"] == {"0": 0.25, "1": 0.75}


def test_labels_that_are_not_one_for_each_class():
    answer = written(label="a", probabilities=[0.25, 0.5, 0.25], class_labels=["a", "a", "b"])
    assert answer["probabilities"] == {"0": 0.25, "1": 0.5, "2": 0.25}
    assert "probability" not in answer


@pytest.mark.parametrize(
    ("value", "told"), [(0.0, 0), (1.5, 1.5), (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_a_value_has_no_probability(value, told):
    answer = written(value=value)
    assert answer["prediction"] == told
    assert "probability" not in answer
