"""One generic model for Triton's Python backend: runs the `model.onnx` of its version with ONNX Runtime.

It stands in the server's backend directory as the backend `onnxruntime`, so a model repository holds no code and
serves unchanged on a Triton that has the real one; or, as `model.py`, beside a `model.onnx` in a version's directory.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb

# ONNX Runtime's name of each element type that Triton and numpy share
ELEMENTS = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_UINT16": "tensor(uint16)",
    "TYPE_UINT32": "tensor(uint32)",
    "TYPE_UINT64": "tensor(uint64)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
    "TYPE_STRING": "tensor(string)",
}

Tensors = dict[str, np.ndarray]


class TritonPythonModel:
    """Triton makes one for each instance and calls it from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session; a configuration that does not fit the file fails the load, with every difference."""
        config = json.loads(args["model_config"])
        named = config["default_model_filename"]
        # as `model.py` of the backend `python`, this file itself is what Triton fills in
        file = named if named.endswith(".onnx") else "model.onnx"
        path = Path(args["model_repository"]) / args["model_version"] / file
        options = ort.SessionOptions()
        # Triton runs several instances side by side; threads of each would only take turns on the same cores
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(str(path), options, providers=providers(args))
        faults = mismatches(config["input"], self.session.get_inputs(), "input")
        faults += mismatches(config["output"], self.session.get_outputs(), "output")
        if faults:
            raise pb.TritonModelException(f"the configuration does not fit {path.name}: {'; '.join(faults)}")
        self.inputs = [i["name"] for i in config["input"]]
        self.outputs = [o["name"] for o in config["output"]]
        # a file exported for one batch size can only be run at that size
        batchable = all(not i.shape or not isinstance(i.shape[0], int) for i in self.session.get_inputs())
        self.joins = config["max_batch_size"] > 0 and batchable

    def execute(self, requests: list[Any]) -> list[Any]:
        """One answer for each request, in order; a request that cannot be run fails alone."""
        feeds = [{name: tensor(request, name) for name in self.inputs} for request in requests]
        answers = [None] * len(requests)
        for group in self.groups(feeds):
            for index, outputs in zip(group, self.run_group([feeds[i] for i in group]), strict=True):
                answers[index] = respond(requests[index], outputs)
        return answers

    def groups(self, feeds: list[Tensors]) -> list[list[int]]:
        """Indices of requests that can share one run: those whose tensors differ in the batch dimension only."""
        if not self.joins:
            return [[index] for index in range(len(feeds))]
        together = {}
        for index, feed in enumerate(feeds):
            together.setdefault(tuple(array.shape[1:] for array in feed.values()), []).append(index)
        return list(together.values())

    def run_group(self, feeds: list[Tensors]) -> list[Tensors | Exception]:
        """The outputs of each, by name, or the exception that it met."""
        if len(feeds) == 1:
            return [self.run_alone(feeds[0])]
        rows = [len(next(iter(feed.values()))) for feed in feeds]
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in self.inputs}
        outputs = self.run_alone(joined)
        if isinstance(outputs, Exception) or any(len(array) != sum(rows) for array in outputs.values()):
            # one bad row fails the whole run: find out whose it was
            return [self.run_alone(feed) for feed in feeds]
        ends = np.cumsum(rows)
        return [
            {name: array[end - count : end] for name, array in outputs.items()}
            for end, count in zip(ends, rows, strict=True)
        ]

    def run_alone(self, feed: Tensors) -> Tensors | Exception:
        try:
            return dict(zip(self.outputs, self.session.run(self.outputs, feed), strict=True))
        except Exception as fault:  # noqa: BLE001  whatever the runtime raises belongs to this request, not to its neighbours
            return fault


def providers(args: dict[str, str]) -> list[Any]:
    """CUDA where the instance was put on a GPU and this ONNX Runtime can use one, else the CPU."""
    if args["model_instance_kind"] == "GPU" and "CUDAExecutionProvider" in ort.get_available_providers():
        device = {"device_id": args["model_instance_device_id"]}
        return [("CUDAExecutionProvider", device), "CPUExecutionProvider"]
    return ["CPUExecutionProvider"]


def mismatches(configured: list[dict[str, Any]], present: list[Any], kind: str) -> list[str]:
    """In words: what the configuration names that the file lacks, the reverse for inputs, and types that differ."""
    types = {node.name: node.type for node in present}
    faults = [
        f"{kind} {c['name']} is not in it (it has {', '.join(types)})" for c in configured if c["name"] not in types
    ]
    if kind == "input":
        names = {c["name"] for c in configured}
        faults += [f"input {name} is not configured" for name in types if name not in names]
    for entry in configured:
        expected = ELEMENTS.get(entry["data_type"], "no type of ONNX")
        found = types.get(entry["name"], expected)
        if found != expected:
            faults.append(f"{kind} {entry['name']} is {found}, configured is {entry['data_type']}")
    return faults


def tensor(request: Any, name: str) -> np.ndarray:
    array = pb.get_input_tensor_by_name(request, name).as_numpy()
    if array.dtype == np.object_:  # Triton hands over bytes, ONNX Runtime wants text
        return np.array([item.decode() for item in array.ravel()], dtype=np.object_).reshape(array.shape)
    return array


def respond(request: Any, outputs: Tensors | Exception) -> Any:
    if isinstance(outputs, Exception):
        return pb.InferenceResponse([], error=pb.TritonError(str(outputs), pb.TritonError.INVALID_ARG))
    wanted = set(request.requested_output_names())
    return pb.InferenceResponse([pb.Tensor(name, array) for name, array in outputs.items() if name in wanted])
