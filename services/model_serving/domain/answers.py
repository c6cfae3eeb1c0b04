"""What a model's outputs mean: a class with probabilities, or a value."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from libs.errors import Precondition
from services.model_serving.domain.tensors import Tensor

FLOATS = ("FP16", "FP32", "FP64")


@dataclass(frozen=True)
class Answer:
    """Exactly one of `label`, `value` and `class_index` is set."""

    label: str | None = None
    value: float | None = None
    class_index: int | None = None
    probabilities: tuple[float, ...] = ()


def answer(outputs: Sequence[Tensor], class_labels: Sequence[str]) -> Answer:
    """Of the outputs for one row. Raises Precondition, SIGNATURE_MISSING, when they say neither."""
    probabilities = _probabilities(outputs, len(class_labels))
    chosen = next((t for t in outputs if t.datatype not in FLOATS and t.array.size == 1), None)
    if class_labels and probabilities:
        return Answer(label=class_labels[int(np.argmax(probabilities))], probabilities=probabilities)
    if chosen is not None and chosen.datatype == "BYTES":
        return Answer(label=chosen.array.item().decode(errors="replace"), probabilities=probabilities)
    if chosen is not None and class_labels:
        return _by_index(int(chosen.array.item()), class_labels)
    if chosen is not None and (probabilities or "label" in chosen.name.lower()):
        return Answer(class_index=int(chosen.array.item()), probabilities=probabilities)
    if len(outputs) == 1 and outputs[0].array.size == 1:
        return Answer(value=float(outputs[0].array.item()))
    if probabilities:
        return Answer(class_index=int(np.argmax(probabilities)), probabilities=probabilities)
    said = ", ".join(f"{t.name} {t.datatype} {list(t.array.shape)}" for t in outputs)
    raise Precondition(
        "SIGNATURE_MISSING",
        f"the outputs ({said}) are neither one number nor probabilities of the version's {len(class_labels)} class"
        " labels: register a version with class_labels, or call it with tensors",
    )


def _probabilities(outputs: Sequence[Tensor], classes: int) -> tuple[float, ...]:
    """By number of labels; where there are none, by an output's name or an integer label beside it."""
    floats = [t for t in outputs if t.datatype in FLOATS]
    if classes:
        found = next((t for t in floats if t.array.size == classes), None)
        one = next((t for t in floats if t.array.size == 1), None)
        if found is None and classes == 2 and one is not None:
            positive = float(one.array.item())
            return (1.0 - positive, positive) if 0 <= positive <= 1 else ()
        return _floats(found)
    return _floats(next((t for t in floats if t.array.size > 1 and "prob" in t.name.lower()), None))


def _by_index(index: int, class_labels: Sequence[str]) -> Answer:
    if 0 <= index < len(class_labels):
        return Answer(label=class_labels[index])
    return Answer(class_index=index)


def _floats(tensor: Tensor | None) -> tuple[float, ...]:
    return () if tensor is None else tuple(float(p) for p in tensor.array.ravel())
