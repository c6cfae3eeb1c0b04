"""Reading an ONNX file: is it one, and which tensors go in and out."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from libs.errors import Invalid, Violation
from services.model_serving.domain.signature import Signature, TensorSpec

ELEMENTS: Mapping[int, str] = {
    onnx.TensorProto.BOOL: "BOOL",
    onnx.TensorProto.UINT8: "UINT8",
    onnx.TensorProto.UINT16: "UINT16",
    onnx.TensorProto.UINT32: "UINT32",
    onnx.TensorProto.UINT64: "UINT64",
    onnx.TensorProto.INT8: "INT8",
    onnx.TensorProto.INT16: "INT16",
    onnx.TensorProto.INT32: "INT32",
    onnx.TensorProto.INT64: "INT64",
    onnx.TensorProto.FLOAT16: "FP16",
    onnx.TensorProto.BFLOAT16: "BF16",
    onnx.TensorProto.FLOAT: "FP32",
    onnx.TensorProto.DOUBLE: "FP64",
    onnx.TensorProto.STRING: "BYTES",
}


async def signature(path: Path) -> Signature:
    """Its tensors with their whole shapes, -1 for each dimension that is open. Raises Invalid, ARTIFACT_INVALID."""
    return await asyncio.to_thread(_read, path)


def _read(path: Path) -> Signature:
    try:
        model = onnx.load_model(str(path), load_external_data=False)
    except (DecodeError, ValueError) as error:
        raise _invalid(f"not an ONNX file: {error}") from error
    graph = model.graph
    if not (model.opset_import and graph.node and graph.output):
        raise _invalid("not an ONNX file: it has no operators")
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in graph.initializer):
        raise _invalid("its weights are in other files: save it with all of them inside")
    # files of old ONNX list their weights among the inputs
    weights = {tensor.name for tensor in graph.initializer}
    inputs = tuple(_spec(value, "input") for value in graph.input if value.name not in weights)
    return Signature(inputs, tuple(_spec(value, "output") for value in graph.output))


def _spec(value: onnx.ValueInfoProto, kind: str) -> TensorSpec:
    if not value.type.HasField("tensor_type"):
        advice = "; a classifier exported with scikit-learn needs zipmap=False" if kind == "output" else ""
        raise _invalid(f"{kind} {value.name} is a {value.type.WhichOneof('value')}, no tensor{advice}")
    tensor = value.type.tensor_type
    element = ELEMENTS.get(tensor.elem_type)
    if element is None:
        raise _invalid(f"{kind} {value.name} has an element type that servers do not take: {tensor.elem_type}")
    # a tensor whose rank the file does not say is most often rows of some length
    shape = _lengths(tensor.shape.dim) if tensor.HasField("shape") else (-1, -1)
    return TensorSpec(value.name, element, shape)


def _lengths(dimensions: Iterable[onnx.TensorShapeProto.Dimension]) -> tuple[int, ...]:
    return tuple(d.dim_value if d.dim_value > 0 else -1 for d in dimensions)


def _invalid(description: str) -> Invalid:
    return Invalid([Violation("", description)], reason="ARTIFACT_INVALID")
