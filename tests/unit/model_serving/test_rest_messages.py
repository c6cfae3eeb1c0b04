"""The REST form of the inference protocol, to messages and back."""

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2
from tritonclient.grpc import service_pb2 as pb

from services.model_serving.servers.refusal import Refusal, Status
from services.model_serving.servers.rest_answer import plain, write
from services.model_serving.servers.rest_request import Wanted, read

FOUR = {"name": "X", "datatype": "FP32", "shape": [1, 4]}
BINARY = {**FOUR, "parameters": {"binary_data_size": 16}}


def body(*inputs, after=b"", **more):
    text = json.dumps({"inputs": list(inputs), **more}).encode()
    return text + after, str(len(text))


def refused(content, header_length=None):
    with pytest.raises(Refusal) as caught:
        read(content, header_length, "m", "")
    assert caught.value.code is Status.INVALID_ARGUMENT
    return caught.value.text


def test_json_becomes_bytes():
    content, _ = body(
        {**FOUR, "data": [[1, 2.5, 3, 4]]}, {"name": "T", "datatype": "BYTES", "shape": [2], "data": ["a", "ü"]}
    )
    request, wanted = read(content, None, "m", "3")
    assert (request.model_name, request.model_version) == ("m", "3")
    assert np.frombuffer(request.raw_input_contents[0], np.float32).tolist() == [1, 2.5, 3, 4]
    assert request.raw_input_contents[1] == b"\x01\0\0\0a\x02\0\0\0\xc3\xbc"
    assert not wanted.is_binary("Y")


def test_binary_tensors_stand_after_the_json_in_order():
    content, length = body(BINARY, {**BINARY, "name": "Z"}, after=b"a" * 16 + b"b" * 16)
    request, _ = read(content, length, "m", "")
    assert list(request.raw_input_contents) == [b"a" * 16, b"b" * 16]
    assert not request.inputs[0].parameters


def test_parameters_keep_their_kinds():
    said = {"sequence_id": 2**63, "sequence_start": True, "priority": 3, "temperature": 0.5, "mode": "x"}
    outputs = [{"name": "Y", "parameters": {"binary_data": False, "classification": 2}}]
    content, _ = body(
        {**FOUR, "data": [0] * 4}, parameters={**said, "binary_data_output": True}, outputs=outputs, id="7"
    )
    request, wanted = read(content, None, "m", "")
    kinds = {name: value.WhichOneof("parameter_choice") for name, value in request.parameters.items()}
    assert kinds == {
        "sequence_id": "uint64_param",
        "sequence_start": "bool_param",
        "priority": "int64_param",
        "temperature": "double_param",
        "mode": "string_param",
    }
    assert request.id == "7"
    assert request.outputs[0].parameters["classification"].int64_param == 2
    assert (wanted.is_binary("Y"), wanted.is_binary("Z")) == (False, True)


@pytest.mark.parametrize(
    ("header_length", "says"),
    [("x", "no number"), ("-1", "no number"), ("9" * 9, "the body has"), ("5", "failed to parse"), ("²", "no number")],
)
def test_a_header_length_that_is_none(header_length, says):
    content, _ = body(BINARY, after=bytes(16))
    assert says in refused(content, header_length)


@pytest.mark.parametrize(
    ("after", "says"), [(bytes(15), "15 bytes are left"), (b"", "0 bytes are left"), (bytes(17), "1 bytes after")]
)
def test_binary_data_that_are_cut_short_or_too_long(after, says):
    assert says in refused(*body(BINARY, after=after))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b"\xff", b"{}", b'{"inputs": 7}', b'{"inputs": [7]}', b"[" * 100_000]
)
def test_bodies_that_are_no_requests(content):
    refused(content)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"datatype": "FP31"}, "unknown datatype"),
        ({"datatype": "FP16"}, "binary data"),
        ({"datatype": "BF16"}, "binary data"),
        ({"datatype": 7}, "no datatype"),
        ({"name": ""}, "no name"),
        ({"shape": [4, -1]}, "no list of lengths"),
        ({"shape": [True, 4]}, "no list of lengths"),
        ({"shape": None}, "no list of lengths"),
        ({"shape": [2, 4]}, "its shape says 8"),
        ({"data": [1, 2, 3]}, "its shape says 4"),
        ({"data": [[1, 2], [3]]}, "different lengths"),
        ({"data": ["1", "2", "3", "4"]}, "not all FP32"),
        ({"data": [None] * 4}, "not all FP32"),
        ({"data": None}, "neither data"),
        ({"datatype": "INT8", "data": [1, 2, 3, 300]}, "not all INT8"),
        ({"datatype": "INT32", "data": [1, 2, 3, 4.5]}, "not all INT32"),
        ({"datatype": "UINT64", "data": [1, 2, 3, -4]}, "not all UINT64"),
        ({"datatype": "BOOL", "data": [1, 0, 1, 0]}, "not all BOOL"),
        ({"datatype": "BYTES", "data": ["a", "b", "c", 4]}, "not all BYTES"),
        ({"parameters": {"binary_data_size": 16}}, "both data"),
        ({"parameters": {"x": [1]}}, "parameter 'x'"),
        ({"parameters": 7}, "no JSON object"),
    ],
)
def test_inputs_that_do_not_fit(change, says):
    content, _ = body({**FOUR, "data": [0] * 4, **change})
    assert says in refused(content)


def test_a_binary_size_that_is_not_the_shapes():
    wrong = {**FOUR, "parameters": {"binary_data_size": 12}}
    assert "say 16" in refused(*body(wrong, after=bytes(12)))


def test_shared_memory_is_refused_with_the_reason():
    content, _ = body({**FOUR, "parameters": {"shared_memory_region": "r"}})
    with pytest.raises(Refusal) as caught:
        read(content, None, "m", "")
    assert caught.value.code is Status.UNIMPLEMENTED


@given(st.binary(max_size=200), st.one_of(st.none(), st.text(max_size=6)))
def test_nothing_but_a_refusal_comes_of_garbage(content, header_length):
    with suppress(Refusal):
        read(content, header_length, "m", "")


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6))
def test_whole_numbers_arrive_as_they_were_sent(values):
    content, _ = body({"name": "X", "datatype": "INT64", "shape": [len(values)], "data": values})
    request, _ = read(content, None, "m", "")
    assert np.frombuffer(request.raw_input_contents[0], np.int64).tolist() == values


def answer(datatype, data):
    made = pb.ModelInferResponse(model_name="m", model_version="1", id="7")
    made.outputs.add(name="Y", datatype=datatype, shape=[2])
    made.raw_output_contents.append(data)
    return made


def test_an_answer_in_json():
    text, length = write(answer("FP32", np.array([1, 2], np.float32).tobytes()), Wanted())
    assert length is None
    output = {"name": "Y", "datatype": "FP32", "shape": [2], "data": [1.0, 2.0]}
    assert json.loads(text) == {"model_name": "m", "model_version": "1", "id": "7", "outputs": [output]}


def test_an_answer_in_bytes():
    text, length = write(answer("BF16", b"abcd"), Wanted(binary=True))
    assert json.loads(text[:length])["outputs"][0]["parameters"] == {"binary_data_size": 4}
    assert text[length:] == b"abcd"


@pytest.mark.parametrize(("datatype", "data"), [("BF16", b"abcd"), ("BYTES", b"\x01\0\0\0\xff\0\0\0\0")])
def test_what_json_cannot_hold_is_said(datatype, data):
    with pytest.raises(Refusal, match="binary_data"):
        write(answer(datatype, data), Wanted())


def test_messages_as_json_have_numbers_as_numbers_and_defaults():
    found = pb.ModelStatistics(name="m", version="1", inference_count=2**60)
    found.inference_stats.success.ns = 5
    said = plain(found)
    assert said["inference_count"] == 2**60
    assert said["last_inference"] == 0
    assert said["inference_stats"]["success"] == {"count": 0, "ns": 5}
    assert said["batch_stats"] == []
    config = model_config_pb2.ModelConfig(name="m", input=[{"name": "X", "data_type": "TYPE_FP32", "dims": [-1]}])
    config.parameters["k"].string_value = "v"
    said = plain(config)
    assert said["input"][0]["data_type"] == "TYPE_FP32"
    assert said["parameters"] == {"k": {"string_value": "v"}}
