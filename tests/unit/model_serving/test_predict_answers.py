"""What outputs mean."""

import numpy as np
import pytest

from libs.errors import Precondition
from services.model_serving.domain.answers import Answer, answer
from services.model_serving.domain.tensors import Tensor


def out(name, values, datatype="FP32"):
    kinds = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64, "BYTES": np.object_}
    return Tensor(name, datatype, np.array([values], kinds[datatype]))


LABEL = out("label", [1], "INT64")
PROBABILITIES = out("probabilities", [0.25, 0.75], "FP64")


def test_a_classification_with_labels():
    said = answer([LABEL, PROBABILITIES], ["on time", "late"])
    assert said == Answer(label="late", probabilities=(0.25, 0.75))


def test_a_classification_without_labels():
    assert answer([LABEL, PROBABILITIES], []) == Answer(class_index=1, probabilities=(0.25, 0.75))
    assert answer([PROBABILITIES], []) == Answer(class_index=1, probabilities=(0.25, 0.75))
    assert answer([out("output_label", [3], "INT64")], []) == Answer(class_index=3)


def test_a_classifier_that_names_its_classes_itself():
    said = answer([out("label", [b"setosa"], "BYTES"), out("probabilities", [0.9, 0.1])], [])
    assert said.label == "setosa"
    assert said.probabilities == pytest.approx((0.9, 0.1))


def test_one_probability_is_that_of_the_second_class():
    said = answer([out("p", [0.25], "FP64")], ["no", "yes"])
    assert said == Answer(label="no", probabilities=(0.75, 0.25))


def test_an_index_is_named_by_the_labels():
    assert answer([LABEL], ["a", "b"]) == Answer(label="b")
    assert answer([out("label", [7], "INT64")], ["a", "b"]) == Answer(class_index=7)


def test_a_regression():
    assert answer([out("variable", [12.5])], []) == Answer(value=12.5)
    assert answer([out("count", [3], "INT64")], []) == Answer(value=3.0)


@pytest.mark.parametrize("labels", [[], ["a", "b", "c"]])
def test_what_is_neither_is_said(labels):
    with pytest.raises(Precondition) as raised:
        answer([out("Y", [0.1, 0.2, 0.3, 0.4])], labels)
    assert raised.value.reason == "SIGNATURE_MISSING"
    assert "Y FP32 [1, 4]" in raised.value.message
