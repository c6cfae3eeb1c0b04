"""The configuration with which Triton loads the versions of a model that it should have, all of them in one.

It says the same for the same list of versions whatever came before: Triton then leaves alone the versions that it has.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.model_serving.domain.model import ModelVersion
from services.model_serving.domain.signature import TensorSpec

OWNER = "penstock"
"""The parameter of a configuration that says which registry loaded the model."""
ONNX_FILE = "model.onnx"
PYTHON_FILE = "model.py"
# where Triton's configuration uses another word than the protocol
TYPES = {"BYTES": "STRING"}


class Incompatible(Exception):
    """Versions of a model that cannot be served side by side; the message says what differs."""


@dataclass(frozen=True)
class Backend:
    """What runs ONNX files on the servers."""

    name: str
    """`onnxruntime`, or `python` where the servers have only that."""
    runner: str = ""
    """For `python`: the model.py that goes beside each file."""


def configuration(versions: Sequence[ModelVersion], backend: Backend, owner: str) -> str:
    """JSON for the load call. Raises Incompatible."""
    first = versions[0]
    for other in versions[1:]:
        _require_same(first, other)
    batching = bool(first.max_batch_size)
    inputs = _merged([v.signature.inputs for v in versions])
    outputs = _merged([v.signature.outputs for v in versions])
    said: dict[str, Any] = {
        "name": first.model,
        "backend": backend.name,
        "max_batch_size": min(v.max_batch_size or 0 for v in versions),
        "input": [_tensor(spec) for spec in inputs],
        "output": [_tensor(spec) for spec in outputs],
        "instance_group": [{"count": 1}],
        "version_policy": {"specific": {"versions": sorted(v.number for v in versions)}},
        "parameters": {OWNER: {"string_value": owner}},
    }
    if batching:
        said["dynamic_batching"] = {}
    return json.dumps(said)


def files(versions: Sequence[ModelVersion], contents: Mapping[str, bytes], backend: Backend) -> dict[str, bytes]:
    """By path in the model's folder; `contents` are by digest."""
    found = {f"{v.version}/{ONNX_FILE}": contents[v.digest] for v in versions}
    if backend.runner:
        found |= {f"{v.version}/{PYTHON_FILE}": backend.runner.encode() for v in versions}
    return found


def _require_same(first: ModelVersion, other: ModelVersion) -> None:
    """Names, types and ranks are one for all versions of a model on a server; lengths may differ."""
    pairs = (
        ("inputs", first.signature.inputs, other.signature.inputs),
        ("outputs", first.signature.outputs, other.signature.outputs),
    )
    for kind, one, two in pairs:
        if _outline(one) != _outline(two):
            said = " against ".join("; ".join(map(str, specs)) for specs in (one, two))
            raise Incompatible(
                f"a server holds one configuration for all versions of a model, and the {kind} of versions"
                f" {first.version} and {other.version} differ in name, type or rank: {said}"
            )
    if bool(first.max_batch_size) != bool(other.max_batch_size):
        raise Incompatible(
            "a server holds one configuration for all versions of a model, and only one of versions"
            f" {first.version} and {other.version} batches"
        )


def _outline(specs: Sequence[TensorSpec]) -> set[tuple[str, str, int]]:
    return {(spec.name, spec.datatype, len(spec.shape)) for spec in specs}


def _merged(signatures: Sequence[tuple[TensorSpec, ...]]) -> list[TensorSpec]:
    """A length on which the versions differ is left open."""
    shapes: dict[str, list[tuple[int, ...]]] = {}
    for specs in signatures:
        for spec in specs:
            shapes.setdefault(spec.name, []).append(spec.shape)
    merged = {
        name: tuple(lengths[0] if len(set(lengths)) == 1 else -1 for lengths in zip(*those, strict=True))
        for name, those in shapes.items()
    }
    return [TensorSpec(spec.name, spec.datatype, merged[spec.name]) for spec in signatures[0]]


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    said: dict[str, Any] = {
        "name": spec.name,
        "data_type": f"TYPE_{TYPES.get(spec.datatype, spec.datatype)}",
        "dims": list(spec.shape) or [1],
    }
    if not spec.shape:
        # Triton has no empty dims: callers see one number a row, the file keeps its own shape
        said["reshape"] = {"shape": []}
    return said
