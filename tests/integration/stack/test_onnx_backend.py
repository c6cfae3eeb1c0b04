"""The generic ONNX backend on a real Triton, and the rules of loading that deployments rely on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper

from deploy.local.stack import Stack
from tests.polling import eventually

DEADLINE_SECONDS = 10


@pytest.fixture
def client(tritons: Stack) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(tritons.address("triton_a_grpc")) as opened:
        yield opened


def adds(number: float, path: Path) -> None:
    """A model that adds `number` to each of four floats."""
    nodes = [helper.make_node("Add", ["X", "n"], ["Y"])]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 4])]
    outputs = [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None, 4])]
    save(nodes, inputs, outputs, path, [helper.make_tensor("n", TensorProto.FLOAT, [1], [number])])


def looks_up(path: Path) -> None:
    """A model that picks the I-th of three words, and fails on an index out of bounds."""
    nodes = [helper.make_node("Gather", ["words", "I"], ["W"])]
    inputs = [helper.make_tensor_value_info("I", TensorProto.INT64, [None])]
    outputs = [helper.make_tensor_value_info("W", TensorProto.STRING, [None])]
    save(
        nodes, inputs, outputs, path, [helper.make_tensor("words", TensorProto.STRING, [3], [b"a", b"b", "ć".encode()])]
    )


def save(nodes: list[Any], inputs: list[Any], outputs: list[Any], path: Path, constants: list[Any]) -> None:
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    path.parent.mkdir(parents=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def configuration(name: str, versions: list[int], **changes: Any) -> str:
    config = {
        "name": name,
        "backend": "onnxruntime",
        "max_batch_size": 64,
        "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": [4]}],
        "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [4]}],
        "dynamic_batching": {},
        "version_policy": {"specific": {"versions": versions}},
    }
    return json.dumps({**config, **changes})


def infer(client: triton.InferenceServerClient, model: str, version: str, rows: int = 1) -> np.ndarray:
    tensor = triton.InferInput("X", [rows, 4], "FP32")
    tensor.set_data_from_numpy(np.zeros((rows, 4), np.float32))
    return client.infer(model, [tensor], model_version=version, client_timeout=DEADLINE_SECONDS).as_numpy("Y")


def test_versions_come_and_go_under_load_without_a_failed_call(
    tritons: Stack, client: triton.InferenceServerClient
) -> None:
    for version in (1, 2):
        adds(version, tritons.repository("a") / "adder" / str(version) / "model.onnx")
    client.load_model("adder", config=configuration("adder", [1]))
    done, served, failed = threading.Event(), [0], list[str]()

    def call() -> None:
        with triton.InferenceServerClient(tritons.address("triton_a_grpc")) as own:
            while not done.is_set():
                try:
                    assert (infer(own, "adder", "1", rows=3) == 1).all()
                    served[0] += 1
                except triton.InferenceServerException as fault:
                    failed.append(str(fault))

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    try:
        for versions, changes in (
            ([1, 2], {}),
            ([1, 2], {"max_batch_size": 32}),
            ([1], {"max_batch_size": 32}),
            ([1, 2], {}),
        ):
            before = served[0]
            client.load_model("adder", config=configuration("adder", versions, **changes))
            assert client.is_model_ready("adder", "2") == (2 in versions)
            eventually(lambda at=before: served[0] > at + 20, message="callers of version 1 stalled")
        assert (infer(client, "adder", "2") == 2).all()
    finally:
        done.set()
        for caller in callers:
            caller.join()
    assert failed == []


def test_a_broken_version_leaves_the_others_serving(tritons: Stack, client: triton.InferenceServerClient) -> None:
    adds(1, tritons.repository("a") / "careful" / "1" / "model.onnx")
    client.load_model("careful", config=configuration("careful", [1]))
    broken = tritons.repository("a") / "careful" / "2" / "model.onnx"
    broken.parent.mkdir()
    broken.write_bytes(b"no protobuf")
    with pytest.raises(triton.InferenceServerException, match="version 2 is at UNAVAILABLE state"):
        client.load_model("careful", config=configuration("careful", [1, 2]))
    assert (infer(client, "careful", "1") == 1).all()


def test_a_configuration_that_does_not_fit_says_every_difference(
    tritons: Stack, client: triton.InferenceServerClient
) -> None:
    adds(1, tritons.repository("a") / "misfit" / "1" / "model.onnx")
    wrong = {
        "input": [{"name": "X", "data_type": "TYPE_FP64", "dims": [4]}],
        "output": [{"name": "Z", "data_type": "TYPE_FP32", "dims": [4]}],
    }
    with pytest.raises(triton.InferenceServerException) as caught:
        client.load_model("misfit", config=configuration("misfit", [1], **wrong))
    assert "input X is tensor(float), configured is TYPE_FP64" in str(caught.value)
    assert "output Z is not in it (it has Y)" in str(caught.value)


def test_a_request_that_cannot_run_fails_alone(tritons: Stack, client: triton.InferenceServerClient) -> None:
    looks_up(tritons.repository("a") / "words" / "1" / "model.onnx")
    # waits for three rows or half a second, so that the three requests share one run
    batching = {"preferred_batch_size": [3], "max_queue_delay_microseconds": 500_000}
    shapes = {
        "input": [{"name": "I", "data_type": "TYPE_INT64", "dims": [1], "reshape": {"shape": []}}],
        "output": [{"name": "W", "data_type": "TYPE_STRING", "dims": [1], "reshape": {"shape": []}}],
    }
    client.load_model("words", config=configuration("words", [1], dynamic_batching=batching, **shapes))
    answers: dict[int, Any] = {}
    finished = threading.Event()

    def ask(index: int) -> None:
        def answered(result: triton.InferResult | None, error: Exception | None) -> None:
            answers[index] = error or result.as_numpy("W")[0, 0].decode()
            if len(answers) == 3:
                finished.set()

        tensor = triton.InferInput("I", [1, 1], "INT64")
        tensor.set_data_from_numpy(np.array([[index]], np.int64))
        client.async_infer("words", [tensor], answered, client_timeout=DEADLINE_SECONDS)

    for index in (0, 99, 2):
        ask(index)
    assert finished.wait(DEADLINE_SECONDS)
    assert (answers[0], answers[2]) == ("a", "ć")
    assert "indices element out of data bounds" in str(answers[99])
    statistics = client.get_inference_statistics("words").model_stats[0]
    assert statistics.execution_count == 1
