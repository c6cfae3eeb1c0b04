"""Tensors out of features, and their bytes on the wire."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from libs.errors import Faults, Precondition, collecting
from services.model_serving.domain.features import Feature, Scalar
from services.model_serving.domain.signature import Signature, TensorSpec

Array = npt.NDArray[Any]

TYPES: Mapping[str, npt.DTypeLike] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
# elements of an input in a message for people
MOST_SHOWN = 8
ELEMENT = re.compile(r"(.+)\[(\d{1,7})\]")


@dataclass(frozen=True)
class Tensor:
    """One tensor of a call; elements of BYTES are `bytes`."""

    name: str
    datatype: str
    array: Array

    def encoded(self) -> bytes:
        """Row order, little endian; BYTES with four bytes of length before each element."""
        if self.datatype != "BYTES":
            return self.array.tobytes()
        return b"".join(len(item).to_bytes(4, "little") + item for item in self.array.ravel().tolist())


def decode(name: str, datatype: str, shape: Sequence[int], data: bytes) -> Tensor:
    """Raises ValueError for a type that has no numpy equivalent, or bytes that are not of the shape."""
    if datatype not in TYPES:
        raise ValueError(f"output {name} is {datatype}, which cannot be read here")
    if datatype != "BYTES":
        return Tensor(name, datatype, np.frombuffer(data, TYPES[datatype]).reshape(shape))
    items = list(_items(data))
    array = np.empty(len(items), np.object_)
    array[:] = items
    return Tensor(name, datatype, array.reshape(shape))


def of_vector(signature: Signature, max_batch_size: int, features: Sequence[Feature]) -> tuple[Tensor, ...]:
    """One row: a tensor for each feature where the inputs are named like them, else all in the single input.

    Raises Precondition: SIGNATURE_MISSING when they do not fit, FEATURE_MISSING when a whole-number input lacks one.
    """
    by_name = {feature.name: feature for feature in features}
    if {spec.name for spec in signature.inputs} == by_name.keys():
        return tuple(_row(spec, max_batch_size, [by_name[spec.name]]) for spec in signature.inputs)
    if len(signature.inputs) != 1:
        names = ", ".join(map(str, signature.inputs)) or "none"
        raise _unfit(f"the inputs ({names}) are neither one tensor nor one for each feature ({', '.join(by_name)})")
    return (_row(signature.inputs[0], max_batch_size, features),)


def of_elements(signature: Signature, max_batch_size: int, given: Mapping[str, Scalar]) -> tuple[Tensor, ...]:
    """One row from elements named `X` (an input of one element) or `X[0]`, `X[1]`, … in row order, or from the text
    of all of them under `X`, separated by commas.

    Raises Invalid with every name that is unknown or missing and every value that does not fit.
    """
    given = _spread(signature, given)
    with collecting() as faults:
        elements = {spec.name: _elements(spec, given, faults) for spec in signature.inputs}
        known = {name for found in elements.values() for name in found}
        for name in sorted(given.keys() - known):
            faults.add(f"features[{name}]", _how(name, signature))
        if faults:
            return ()
        tensors: list[Tensor] = []
        for spec in signature.inputs:
            for name in elements[spec.name]:
                _check(spec, name, given[name], faults)
            if not faults:
                tensors.append(_tensor(spec, max_batch_size, [given[name] for name in elements[spec.name]]))
    return tuple(tensors)


def _how(name: str, signature: Signature) -> str:
    """What is wrong with a name, and what is right."""
    spec = next((spec for spec in signature.inputs if spec.name == name), None)
    if spec is None:
        return f"no such element of an input; the inputs are {', '.join(map(str, signature.inputs))}"
    count = math.prod(spec.shape)
    how = f"is the whole input {spec}, not one element: give {name}[0] … {name}[{count - 1}]"
    text = ",".join(map(str, range(1, count + 1))) if count <= MOST_SHOWN else "1,2,…"
    return how if spec.datatype == "BYTES" else f'{how}, or {name}="{text}"'


def _spread(signature: Signature, given: Mapping[str, Scalar]) -> Mapping[str, Scalar]:
    """`X: "1,2"` as `X[0]: "1"`, `X[1]: "2"`."""
    spread = dict(given)
    for spec in signature.inputs:
        value = given.get(spec.name)
        if isinstance(value, str) and "," in value and spec.datatype != "BYTES":
            del spread[spec.name]
            spread |= {f"{spec.name}[{index}]": part.strip() for index, part in enumerate(value.split(","))}
    return spread


def _elements(spec: TensorSpec, given: Mapping[str, Scalar], faults: Faults) -> list[str]:
    """Names of the elements of an input, in order."""
    count = math.prod(spec.shape) if -1 not in spec.shape else None
    if spec.name in given and count in (1, None):
        return [spec.name]
    matches = (ELEMENT.fullmatch(name) for name in given)
    indices = {int(match[2]) for match in matches if match and match[1] == spec.name}
    # as many as were given tell the length where the model leaves it open
    expected = count if count is not None else max(len(indices), 1)
    names = [f"{spec.name}[{index}]" for index in range(min(expected, len(given) + 1))]
    if expected == 1 and not indices:
        names = [spec.name]
    missing = [name for name in names if name not in given]
    if missing or len(names) < expected:
        wants = f"missing: {spec} takes {expected} value{'s' if expected > 1 else ''}"
        faults.add(f"features[{(missing or names)[0]}]", wants)
    return names


def _row(spec: TensorSpec, max_batch_size: int, features: Sequence[Feature]) -> Tensor:
    for feature in features:
        if isinstance(feature.value, str) and spec.datatype != "BYTES":
            raise _unfit(f"feature {feature.name} is text and input {spec} is not")
        if feature.value is None and not spec.datatype.startswith("FP"):
            message = f"feature {feature.name} is {feature.status.value}, and input {spec} cannot hold a missing value"
            raise Precondition("FEATURE_MISSING", message, feature=feature.name)
        if not _is_whole(feature.value) and spec.datatype.startswith(("INT", "UINT")):
            raise _unfit(f"feature {feature.name} is {feature.value}, and input {spec} takes whole numbers")
    return _tensor(spec, max_batch_size, [feature.value for feature in features])


def _tensor(spec: TensorSpec, max_batch_size: int, values: Sequence[Scalar]) -> Tensor:
    shape = _shape(spec, max_batch_size, len(values))
    if spec.datatype not in TYPES:
        raise _unfit(f"input {spec} has a type that features cannot be turned into")
    if spec.datatype == "BYTES":
        array = np.empty(len(values), np.object_)
        array[:] = [str(value).encode() for value in values]
    else:
        try:
            array = np.array([_number(value) for value in values], dtype=TYPES[spec.datatype])
        except OverflowError as error:
            raise _unfit(f"a value is out of the range of input {spec}: {error}") from error
    return Tensor(spec.name, spec.datatype, array.reshape(shape))


def _shape(spec: TensorSpec, max_batch_size: int, count: int) -> tuple[int, ...]:
    """The whole shape of one row of so many elements; of the open lengths, the last takes what is left."""
    lengths = list(spec.shape or (1,))
    known = math.prod(length for length in lengths if length > 0)
    opens = [index for index, length in enumerate(lengths) if length == -1]
    if count % known or (not opens and count != known):
        raise _unfit(f"{count} features do not fill input {spec}")
    for index in opens:
        lengths[index] = count // known if index == opens[-1] else 1
    return (1, *lengths) if max_batch_size else tuple(lengths)


def _check(spec: TensorSpec, name: str, value: Scalar, faults: Faults) -> None:
    """Faults of a caller's value for an element of an input."""
    if spec.datatype == "BYTES":
        faults.require(value is not None, f"features[{name}]", "null, and the input is text")
        return
    whole = not spec.datatype.startswith("FP")
    try:
        number = _number(value)
        fits = not whole or _is_whole(float(number))
        faults.require(fits, f"features[{name}]", f"does not fit {spec}: {value} is no whole number")
        np.array([number], dtype=TYPES.get(spec.datatype, np.float64))
    except (ValueError, OverflowError) as error:
        faults.add(f"features[{name}]", f"does not fit {spec}: {error}")


def _is_whole(value: Scalar) -> bool:
    return not isinstance(value, float) or value.is_integer()


def _number(value: Scalar) -> float | int:
    match value:
        case None:
            return math.nan
        case datetime():
            return value.timestamp()
        case str():
            return float(value)
        case _:
            return value


def _items(data: bytes) -> Iterable[bytes]:
    start = 0
    while start < len(data):
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        yield data[start + 4 : end]
        start = end


def _unfit(message: str) -> Precondition:
    return Precondition("SIGNATURE_MISSING", message)
