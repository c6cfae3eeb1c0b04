"""An inference in the REST form of the protocol, as a message: JSON, and after it the bytes of binary tensors."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from tritonclient.grpc import service_pb2

from services.model_serving.domain.tensors import TYPES, Tensor
from services.model_serving.servers.refusal import invalid, not_here

BINARY_ONLY = ("FP16", "BF16")
SIZES: Mapping[str, int] = {
    **{name: np.dtype(kind).itemsize for name, kind in TYPES.items() if name != "BYTES"},
    "BF16": 2,
}
"""Bytes of an element, where that is fixed."""
# by kind of numpy: what JSON's numbers and truths may become
FITTING = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
# tritonclient has no type stubs
Message = Any
pb: Any = service_pb2
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """Which outputs the caller takes as bytes after the JSON."""

    binary: bool = False
    by_name: Mapping[str, bool] = field(default_factory=dict[str, bool])

    def is_binary(self, output: str) -> bool:
        return self.by_name.get(output, self.binary)


def read(body: bytes, header_length: str | None, model: str, version: str) -> tuple[Message, Wanted]:
    """A ModelInferRequest. `header_length` is how many bytes of the body are JSON: without it, all. Raises Refusal."""
    size = _length(header_length, len(body))
    asked = json_object(body[:size])
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=_text(asked, "id", "the request"))
    parameters = _parameters(asked, "the request")
    binary = bool(parameters.pop("binary_data_output", False))
    _set(request.parameters, parameters)
    rest = _Bytes(body, size)
    for given in _list(asked, "inputs"):
        _add_input(request, given, rest)
    rest.end()
    by_name: dict[str, bool] = {}
    for given in _list(asked, "outputs") if "outputs" in asked else ():
        name = _text(given, "name", "an output")
        parameters = _parameters(given, f"output '{name}'")
        if "binary_data" in parameters:
            by_name[name] = bool(parameters.pop("binary_data"))
        _set(request.outputs.add(name=name).parameters, parameters)
    return request, Wanted(binary, by_name)


def json_object(text: bytes) -> dict[str, Any]:
    """Raises Refusal."""
    return _object(_json(text), "the request")


class _Bytes:
    """What follows the JSON, taken piece by piece."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = body
        self._start = start

    def take(self, size: int, name: str) -> bytes:
        end = self._start + size
        if end > len(self._body):
            left = len(self._body) - self._start
            raise invalid(f"input '{name}' has binary_data_size {size}, and {left} bytes are left in the body")
        taken = self._body[self._start : end]
        self._start = end
        return taken

    def end(self) -> None:
        if left := len(self._body) - self._start:
            raise invalid(f"{left} bytes after the last input that has a binary_data_size")


def _length(header_length: str | None, whole: int) -> int:
    if header_length is None:
        return whole
    if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 10):
        raise invalid(f"Inference-Header-Content-Length: {header_length!r} is no number of bytes")
    if int(header_length) > whole:
        raise invalid(f"Inference-Header-Content-Length is {header_length}, and the body has {whole} bytes")
    return int(header_length)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise invalid(f"failed to parse the request JSON: {error}") from None


def _add_input(request: Message, given: Any, rest: _Bytes) -> None:
    given = _object(given, "an input")
    name = _text(given, "name", "an input")
    datatype, shape = _text(given, "datatype", f"input '{name}'"), _shape(given, name)
    parameters = _parameters(given, f"input '{name}'")
    if datatype not in TYPES and datatype not in SIZES:
        raise invalid(f"input '{name}' has the unknown datatype '{datatype}'")
    size = parameters.pop("binary_data_size", None)
    if size is None:
        data = _encoded(name, datatype, shape, given.get("data"))
    elif isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise invalid(f"input '{name}': binary_data_size is no number of bytes")
    elif "data" in given:
        raise invalid(f"input '{name}' has both data and a binary_data_size")
    else:
        data = rest.take(size, name)
    wanted = math.prod(shape) * SIZES.get(datatype, 0)
    if datatype != "BYTES" and len(data) != wanted:
        raise invalid(f"input '{name}' has {len(data)} bytes, and its shape and datatype say {wanted}")
    _set(request.inputs.add(name=name, datatype=datatype, shape=shape).parameters, parameters)
    request.raw_input_contents.append(data)


def _encoded(name: str, datatype: str, shape: Sequence[int], data: Any) -> bytes:
    """JSON's numbers, truths or texts, nested or not."""
    if datatype in BINARY_ONLY:
        raise invalid(f"input '{name}' is {datatype}, which cannot be given in JSON: send it as binary data")
    if not isinstance(data, list):
        raise invalid(f"input '{name}' has neither data nor a binary_data_size")
    try:
        array = np.array(cast("Any", data), np.object_ if datatype == "BYTES" else None)
    except (ValueError, OverflowError):
        raise invalid(f"input '{name}': its data are lists of different lengths") from None
    if array.size != math.prod(shape):
        raise invalid(f"input '{name}' has {array.size} elements, and its shape says {math.prod(shape)}")
    converted = _texts(array) if datatype == "BYTES" else _numbers(array, np.dtype(TYPES[datatype]))
    if converted is None:
        raise invalid(f"input '{name}': its data are not all {datatype}")
    return Tensor(name, datatype, converted).encoded()


def _numbers(array: Any, kind: Any) -> Any:
    """None where a value would become another."""
    if not array.size:
        return array.astype(kind)
    if array.dtype.kind not in FITTING[kind.kind]:
        return None
    if kind.kind in "iu" and not np.iinfo(kind).min <= int(array.min()) <= int(array.max()) <= np.iinfo(kind).max:
        return None
    with np.errstate(over="ignore"):  # beyond the largest float is infinity, as it is to a server
        return array.astype(kind)


def _texts(array: Any) -> Any:
    if not all(isinstance(item, str) for item in array.ravel()):
        return None
    encoded = np.empty(array.size, np.object_)
    encoded[:] = [item.encode(errors="surrogatepass") for item in array.ravel()]
    return encoded


def _shape(given: Json, name: str) -> list[int]:
    shape = given.get("shape")
    lengths: list[Any] = cast("list[Any]", shape) if isinstance(shape, list) else [None]
    if not all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 31 for n in lengths):
        raise invalid(f"input '{name}': its shape is no list of lengths")
    return lengths


def _parameters(given: Any, of: str) -> dict[str, Any]:
    parameters = dict(_object(_object(given, of).get("parameters", {}), f"parameters of {of}"))
    if any(name.startswith("shared_memory_") for name in parameters):
        raise not_here("memory")
    return parameters


def _set(into: Any, parameters: Json) -> None:
    for name, value in parameters.items():
        match value:
            case bool():
                into[name].bool_param = value
            case int() if -(1 << 63) <= value < 1 << 63:
                into[name].int64_param = value
            case int() if 0 < value < 1 << 64:
                into[name].uint64_param = value
            case float():
                into[name].double_param = value
            case str():
                into[name].string_param = value
            case _:
                raise invalid(f"parameter '{name}' is no truth, number or text")


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"{what} is no JSON object")
    return cast("dict[str, Any]", value)


def _list(given: Json, name: str) -> list[Any]:
    value = given.get(name)
    if not isinstance(value, list):
        raise invalid(f"the request has no list '{name}'")
    return cast("list[Any]", value)


def _text(given: Any, name: str, of: str) -> str:
    value = _object(given, of).get(name, "" if name == "id" else None)
    if not isinstance(value, str) or (not value and name != "id"):
        raise invalid(f"{of} has no {name}")
    return value
