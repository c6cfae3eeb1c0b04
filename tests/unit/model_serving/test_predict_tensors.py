"""Tensors out of features and elements."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Invalid, Precondition
from services.model_serving.domain.features import Feature, FeatureStatus
from services.model_serving.domain.signature import Signature, TensorSpec
from services.model_serving.domain.tensors import TYPES, Tensor, decode, of_elements, of_vector

PRESENT, NOT_FOUND = FeatureStatus.PRESENT, FeatureStatus.NOT_FOUND


def inputs(*specs):
    return Signature(tuple(TensorSpec(*spec) for spec in specs), ())


def features(**values):
    return [Feature(name, value, NOT_FOUND if value is None else PRESENT) for name, value in values.items()]


def blamed(raised):
    return {violation.field for violation in raised.value.violations}


class TestVector:
    def test_all_features_are_columns_of_the_single_input(self):
        (tensor,) = of_vector(inputs(("X", "FP32", (3,))), 64, features(a=1, b=2.5, c=True))
        assert tensor.array.dtype == np.float32
        assert tensor.array.tolist() == [[1.0, 2.5, 1.0]]

    def test_without_batches_the_shape_is_the_whole(self):
        assert of_vector(inputs(("X", "FP64", (1, 2))), 0, features(a=1, b=2))[0].array.shape == (1, 2)
        assert of_vector(inputs(("X", "FP64", (-1, 2))), 0, features(a=1, b=2))[0].array.shape == (1, 2)
        assert of_vector(inputs(("X", "FP64", (2,))), 0, features(a=1, b=2))[0].array.shape == (2,)

    def test_an_open_length_takes_what_is_there(self):
        assert of_vector(inputs(("X", "FP32", (-1,))), 8, features(a=1, b=2))[0].array.shape == (1, 2)

    def test_what_is_missing_is_not_a_number(self):
        (tensor,) = of_vector(inputs(("X", "FP32", (2,))), 64, features(a=None, b=2))
        assert math.isnan(tensor.array[0, 0])

    def test_a_whole_number_input_cannot_lack_one(self):
        with pytest.raises(Precondition) as raised:
            of_vector(inputs(("X", "INT64", (2,))), 64, features(a=None, b=2))
        assert raised.value.reason == "FEATURE_MISSING"
        assert "a is NOT_FOUND" in raised.value.message

    def test_whole_numbers_stay_exact(self):
        assert of_vector(inputs(("X", "INT64", (1,))), 64, features(a=2**60 + 1))[0].array.item() == 2**60 + 1

    def test_one_tensor_for_each_feature_where_inputs_are_named_like_them(self):
        said = inputs(("carrier", "BYTES", (1,)), ("hour", "FP32", (1,)))
        carrier, hour = of_vector(said, 64, features(hour=6, carrier="UA"))
        assert carrier.array.tolist() == [[b"UA"]]
        assert hour.array.tolist() == [[6.0]]

    def test_a_time_is_seconds_since_1970(self):
        then = datetime(2013, 3, 10, tzinfo=UTC)
        assert of_vector(inputs(("X", "FP64", (1,))), 64, features(a=then))[0].array.item() == then.timestamp()

    @pytest.mark.parametrize(
        ("said", "given_features"),
        [
            (inputs(("X", "FP32", (3,))), features(a=1, b=2)),
            (inputs(("X", "FP32", (-1, 3))), features(a=1, b=2)),
            (inputs(("X", "FP32", (1,)), ("Z", "FP32", (1,))), features(a=1, b=2)),
            (inputs(), features(a=1)),
            (inputs(("X", "FP32", (1,))), features(a="text")),
            (inputs(("X", "INT64", (1,))), features(a=1.5)),
            (inputs(("X", "INT8", (1,))), features(a=1000)),
            (inputs(("X", "BF16", (1,))), features(a=1)),
        ],
        ids=["fewer", "no multiple", "two inputs", "none", "text", "fraction", "range", "type"],
    )
    def test_what_does_not_fit_is_said(self, said, given_features):
        with pytest.raises(Precondition) as raised:
            of_vector(said, 64, given_features)
        assert raised.value.reason == "SIGNATURE_MISSING"


class TestElements:
    FOUR = inputs(("X", "FP32", (4,)))

    def test_by_index_in_row_order(self):
        (tensor,) = of_elements(inputs(("X", "FP32", (2, 2))), 64, {f"X[{i}]": float(i) for i in (3, 1, 0, 2)})
        assert tensor.array.tolist() == [[[0.0, 1.0], [2.0, 3.0]]]

    def test_all_at_once_as_text(self):
        (tensor,) = of_elements(self.FOUR, 64, {"X": "5.1, 3.5,1.4,0.2"})
        assert tensor.array.tolist() == [pytest.approx([5.1, 3.5, 1.4, 0.2])]
        with pytest.raises(Invalid) as raised:
            of_elements(self.FOUR, 64, {"X": "5.1,3.5,wide"})
        assert blamed(raised) == {"features[X[3]]"}

    def test_an_input_of_one_element_by_its_name(self):
        age, name = of_elements(inputs(("age", "INT32", (1,)), ("name", "BYTES", ())), 64, {"age": "7", "name": "x"})
        assert age.array.tolist() == [[7]]
        assert name.array.tolist() == [[b"x"]]

    def test_an_open_length_is_as_long_as_what_was_given(self):
        assert of_elements(inputs(("X", "FP32", (-1,))), 64, {"X[0]": 1, "X[1]": 2})[0].array.shape == (1, 2)
        assert of_elements(inputs(("X", "FP32", (-1,))), 64, {"X": 1})[0].array.shape == (1, 1)

    def test_every_fault_is_said_at_once(self):
        with pytest.raises(Invalid) as raised:
            of_elements(self.FOUR, 64, {"X[0]": 1, "X[1]": 2, "X[2]": 3, "Y": 4})
        assert blamed(raised) == {"features[X[3]]", "features[Y]"}

    @pytest.mark.parametrize("given_elements", [{}, {"X": 1.0}, {"X[5]": 1.0}, {"X[0]": 1, "X[9999999]": 2}])
    def test_too_few_or_none(self, given_elements):
        with pytest.raises(Invalid) as raised:
            of_elements(self.FOUR, 64, given_elements)
        assert any(field.startswith("features[X[") for field in blamed(raised))

    def test_a_whole_input_under_its_name_is_told_how_to_be_written(self):
        with pytest.raises(Invalid) as raised:
            of_elements(self.FOUR, 64, {"X": 1.0})
        assert {v.field: v.description for v in raised.value.violations}["features[X]"] == (
            'is the whole input X FP32 [4], not one element: give X[0] … X[3], or X="1,2,3,4"'
        )

    @pytest.mark.parametrize(("datatype", "value"), [("FP32", "wide"), ("INT8", 400), ("INT64", 1.5), ("INT64", None)])
    def test_a_value_that_does_not_fit(self, datatype, value):
        with pytest.raises(Invalid) as raised:
            of_elements(inputs(("x", datatype, (1,))), 64, {"x": value})
        assert blamed(raised) == {"features[x]"}


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=5))
def test_bytes_survive_the_wire(items):
    array = np.empty(len(items), np.object_)
    array[:] = items
    assert decode("o", "BYTES", [len(items)], Tensor("o", "BYTES", array).encoded()).array.tolist() == items


@pytest.mark.parametrize("datatype", sorted(TYPES.keys() - {"BYTES"}))
def test_numbers_survive_the_wire(datatype):
    array = np.array([[0, 1], [1, 0]], TYPES[datatype])
    back = decode("o", datatype, [2, 2], Tensor("o", datatype, array).encoded()).array
    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()


@pytest.mark.parametrize(("datatype", "shape"), [("BF16", [1]), ("FP32", [3]), ("BYTES", [3])])
def test_an_answer_that_cannot_be_read(datatype, shape):
    with pytest.raises(ValueError, match=r".+"):
        decode("o", datatype, shape, bytes(8))
