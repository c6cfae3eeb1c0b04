"""The configuration with which versions are loaded together."""

import json

import pytest

from services.model_serving.domain.configuration import Backend, Incompatible, configuration, files
from services.model_serving.domain.signature import Signature, TensorSpec
from tests.unit.model_serving.model_versions import model_version

ONNX = Backend("onnxruntime")


def said(*versions, backend=ONNX):
    return json.loads(configuration(versions, backend, "registry-1"))


def test_all_versions_in_one():
    config = said(model_version("10"), model_version("2"))
    assert config["version_policy"] == {"specific": {"versions": [2, 10]}}
    assert config["input"] == [{"name": "X", "data_type": "TYPE_FP32", "dims": [4]}]
    assert config["max_batch_size"] == 64
    assert config["dynamic_batching"] == {}
    assert config["parameters"] == {"penstock": {"string_value": "registry-1"}}


def test_a_further_version_changes_nothing_but_the_list():
    one, two = said(model_version("1")), said(model_version("1"), model_version("2"))
    assert {key for key in two if one.get(key) != two[key]} == {"version_policy"}


def test_one_number_a_row():
    signature = Signature((TensorSpec("S", "BYTES", ()),), (TensorSpec("label", "INT64", ()),))
    config = said(model_version(signature=signature))
    assert config["input"] == [{"name": "S", "data_type": "TYPE_STRING", "dims": [1], "reshape": {"shape": []}}]
    assert config["output"][0]["reshape"] == {"shape": []}


def test_lengths_on_which_versions_differ_stay_open():
    wider = Signature((TensorSpec("X", "FP32", (7,)),), (TensorSpec("Y", "FP32", (4,)),))
    config = said(model_version("1"), model_version("2", signature=wider, max_batch_size=8))
    assert (config["input"][0]["dims"], config["output"][0]["dims"]) == ([-1], [4])
    assert config["max_batch_size"] == 8


def test_a_model_that_does_not_batch():
    config = said(model_version(max_batch_size=0))
    assert config["max_batch_size"] == 0
    assert "dynamic_batching" not in config


@pytest.mark.parametrize(
    "other",
    [
        {"signature": Signature((TensorSpec("Z", "FP32", (4,)),), (TensorSpec("Y", "FP32", (4,)),))},
        {"signature": Signature((TensorSpec("X", "FP64", (4,)),), (TensorSpec("Y", "FP32", (4,)),))},
        {"signature": Signature((TensorSpec("X", "FP32", (4, 1)),), (TensorSpec("Y", "FP32", (4,)),))},
        {"max_batch_size": 0},
    ],
    ids=["name", "type", "rank", "batching"],
)
def test_versions_that_cannot_be_side_by_side(other):
    with pytest.raises(Incompatible, match="versions 1 and 2"):
        said(model_version("1"), model_version("2", **other))


def test_files_by_their_place():
    one, two = model_version("1", digest="a" * 64), model_version("2", digest="b" * 64)
    contents = {"a" * 64: b"A", "b" * 64: b"B"}
    assert files([one, two], contents, ONNX) == {"1/model.onnx": b"A", "2/model.onnx": b"B"}
    runner = Backend("python", "code")
    assert files([one], contents, runner) == {"1/model.onnx": b"A", "1/model.py": b"code"}
