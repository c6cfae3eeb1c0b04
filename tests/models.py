"""Small real models: version v of `shift` answers Y = X + v, so that an answer tells who gave it."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tritonclient.grpc import service_pb2

WIDTH = 4


def shift(version: int, width: int = WIDTH) -> bytes:
    """An ONNX file: X float32 [n, width] → Y float32 [n, width]."""
    amount = numpy_helper.from_array(np.array([version], np.float32), "amount")
    graph = helper.make_graph(
        [helper.make_node("Add", ["X", "amount"], ["Y"])],
        "shift",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", width])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["n", width])],
        [amount],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def infer_request(model: str, version: str = "", name: str = "X", datatype: str = "FP32", width: int = WIDTH):
    """A ModelInferRequest for one row of zeros."""
    request = service_pb2.ModelInferRequest(model_name=model, model_version=version)
    tensor = request.inputs.add(name=name, datatype=datatype)
    tensor.shape.extend([1, width])
    size = {"FP32": 4, "INT64": 8}[datatype]
    request.raw_input_contents.append(bytes(size * width))
    return request


def answered_by(response: service_pb2.ModelInferResponse) -> str:
    """The version that computed the answer, told from the numbers, not from a label."""
    return str(int(np.frombuffer(response.raw_output_contents[0], np.float32)[0]))
