"""What goes into a model version and what comes out."""

from collections.abc import Iterator
from dataclasses import dataclass

from libs.errors import Faults

DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64",
    "BYTES",
)  # fmt: skip
DEFAULT_BATCH_SIZE = 64
MOST_TENSORS = 64
MOST_DIMENSIONS = 16
LONGEST_NAME = 256


@dataclass(frozen=True)
class TensorSpec:
    """One tensor. -1 in the shape is any length; the empty shape is one number a row."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Signature:
    """Shapes are without the batch dimension where the version batches."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.inputs or self.outputs)


def can_batch(whole: Signature) -> bool:
    """Whether the first dimension of every tensor of a file is open: rows may then be put together."""
    return all(spec.shape[:1] == (-1,) for spec in (*whole.inputs, *whole.outputs))


def of_file(whole: Signature, max_batch_size: int | None, faults: Faults) -> tuple[Signature, int]:
    """Signature and batch size of a file whose tensors are given with their whole shapes."""
    batching = can_batch(whole)
    size = (DEFAULT_BATCH_SIZE if batching else 0) if max_batch_size is None else max_batch_size
    if size and not batching:
        fixed = next(str(s) for s in (*whole.inputs, *whole.outputs) if s.shape[:1] != (-1,))
        description = f"the first dimension of {fixed} is fixed in the file, so it cannot batch: leave this 0"
        faults.add("model_version.max_batch_size", description)
    return (_without_batch(whole) if size and batching else whole), size


def _without_batch(whole: Signature) -> Signature:
    def rows(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(TensorSpec(s.name, s.datatype, s.shape[1:]) for s in specs)

    return Signature(rows(whole.inputs), rows(whole.outputs))


def compare(declared: Signature, found: Signature, faults: Faults) -> None:
    """Faults where a declared signature is not what the file says. Outputs may be left out, inputs may not."""
    kinds = (("inputs", declared.inputs, found.inputs), ("outputs", declared.outputs, found.outputs))
    for kind, said, has in kinds:
        there = {spec.name: spec for spec in has}
        for index, spec in enumerate(said):
            field = f"model_version.signature.{kind}[{index}]"
            match = there.get(spec.name)
            if match is None:
                faults.add(field, f"the file has no {spec.name}; it has {', '.join(there)}")
            elif not _fits(spec, match):
                faults.add(field, f"the file says {match}, not {spec}")
    missing = {spec.name for spec in found.inputs} - {spec.name for spec in declared.inputs}
    for name in sorted(missing):
        faults.add("model_version.signature.inputs", f"the file's input {name} is missing")


def _fits(said: TensorSpec, has: TensorSpec) -> bool:
    same_rank = len(said.shape) == len(has.shape)
    dimensions = zip(said.shape, has.shape, strict=False)
    return said.datatype == has.datatype and same_rank and all(-1 in (s, h) or s == h for s, h in dimensions)


def check(signature: Signature, faults: Faults) -> None:
    """Faults of a declared signature in itself."""
    check_size(signature, faults)
    for kind, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        faults.require(specs or not signature, f"model_version.signature.{kind}", "required when a signature is given")
        for field, spec in _fields(kind, specs[:MOST_TENSORS]):
            faults.require(spec.name, f"{field}.name", "required")
            faults.require(spec.datatype in DATATYPES, f"{field}.datatype", f"not one of {', '.join(DATATYPES)}")
            faults.require(all(d == -1 or d > 0 for d in spec.shape), f"{field}.shape", "lengths are positive, or -1")
        names = [spec.name for spec in specs]
        faults.require(len(set(names)) == len(names), f"model_version.signature.{kind}", "a name stands twice")


def check_size(signature: Signature, faults: Faults) -> None:
    """Faults of a signature, declared or read from a file, that is larger than what is kept."""
    for kind, specs in (("inputs", signature.inputs), ("outputs", signature.outputs)):
        if len(specs) > MOST_TENSORS:
            faults.add(f"model_version.signature.{kind}", f"more than {MOST_TENSORS} tensors")
            continue
        for field, spec in _fields(kind, specs):
            short = len(spec.name.encode()) <= LONGEST_NAME
            faults.require(short, f"{field}.name", f"longer than {LONGEST_NAME} bytes")
            few = len(spec.shape) <= MOST_DIMENSIONS
            faults.require(few, f"{field}.shape", f"more than {MOST_DIMENSIONS} dimensions")


def _fields(kind: str, specs: tuple[TensorSpec, ...]) -> Iterator[tuple[str, TensorSpec]]:
    for index, spec in enumerate(specs):
        yield f"model_version.signature.{kind}[{index}]", spec
