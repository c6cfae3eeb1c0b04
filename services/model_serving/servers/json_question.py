"""A question in JSON, read strictly: whatever is wrong with it is told at once, by field."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from libs.errors import Faults, Invalid, Violation, collecting
from penstock.model_serving.v1 import prediction_service_pb2 as pb
from services.model_serving.domain.features import Scalar, ValueType, convert

FIELDS = tuple(pb.JsonQuestion.DESCRIPTOR.fields_by_name)
JSON = "application/json"
MOST_DEEP = 32


@dataclass(frozen=True)
class JsonQuestion:
    model: str
    version: str
    entities: Mapping[str, Scalar]
    features: Mapping[str, Scalar]
    as_of: datetime | None
    include_features: bool


def read(content_type: str, data: bytes) -> JsonQuestion:
    """Raises Invalid."""
    # with another type a page of any origin could send it without having asked for permission
    if content_type.partition(";")[0].strip().lower() != JSON:
        raise _invalid("content-type", f"must be {JSON}, is {content_type!r}")
    document = _document(data)
    with collecting() as faults:
        for name in document.keys() - set(FIELDS):
            faults.add(name, f"no such field; there are {', '.join(FIELDS)}")
        return JsonQuestion(
            model=_text(document, "model_id", faults, required=True),
            version=_text(document, "model_version", faults),
            entities=_values(document, "entities", faults, arrays=False),
            features=_values(document, "features", faults, arrays=True),
            as_of=_instant(document, "as_of", faults),
            include_features=_switch(document, "include_features", faults),
        )


def _document(data: bytes) -> dict[str, Any]:
    try:
        read = json.loads(data, object_pairs_hook=_once, parse_constant=_no_constant)
        if b"\\u" in data:
            # half a surrogate pair is JSON, and no text that could be passed on
            json.dumps(read, ensure_ascii=False).encode()
    except RecursionError as error:
        raise _invalid("", "JSON that deep is not read") from error
    except ValueError as error:
        raise _invalid("", f"the body is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise _invalid("", "the body must be a JSON object")
    return cast(dict[str, Any], read)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} is given twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _text(document: Mapping[str, Any], name: str, faults: Faults, *, required: bool = False) -> str:
    value = document.get(name)
    if value is None or value == "":
        faults.require(not required, name, "required")
        return ""
    if faults.require(isinstance(value, str), name, f"must be text, is {_kind(value)}"):
        return value
    return ""


def _switch(document: Mapping[str, Any], name: str, faults: Faults) -> bool:
    value = document.get(name)
    faults.require(value is None or isinstance(value, bool), name, f"must be true or false, is {_kind(value)}")
    return value is True


def _instant(document: Mapping[str, Any], name: str, faults: Faults) -> datetime | None:
    text = _text(document, name, faults)
    try:
        return cast(datetime, convert(text, ValueType.TIMESTAMP)) if text else None
    except ValueError as error:
        faults.add(name, f"{error}; a time is written 2013-03-04T10:00:00Z")
        return None


def _values(document: Mapping[str, Any], name: str, faults: Faults, *, arrays: bool) -> dict[str, Scalar]:
    given = document.get(name)
    if given is None:
        return {}
    if not faults.require(isinstance(given, dict), name, f"must be an object of values by name, is {_kind(given)}"):
        return {}
    found: dict[str, Scalar] = {}
    for key, value in cast(dict[str, Any], given).items():
        if isinstance(value, list) and arrays:
            elements = list(_elements(f"{name}[{key}]", cast(list[Any], value), faults))
            faults.require(elements, f"{name}[{key}]", "must not be empty")
            found |= {f"{key}[{index}]": element for index, element in enumerate(elements)}
        else:
            found[key] = _scalar(f"{name}[{key}]", value, faults)
    return found


def _elements(path: str, given: Sequence[Any], faults: Faults, depth: int = 1) -> Iterator[Scalar]:
    """In row order, whatever the nesting."""
    for value in given:
        if isinstance(value, list) and depth < MOST_DEEP:
            yield from _elements(path, cast(list[Any], value), faults, depth + 1)
        else:
            yield _scalar(path, value, faults)


def _scalar(path: str, value: Any, faults: Faults) -> Scalar:
    match value:
        case dict() | list():
            faults.add(path, f"must be one value, is {_kind(value)}")
            return None
        case int() if not -(2**63) <= value < 2**63:
            faults.add(path, "does not fit into 64 bits")
            return None
        case float() if not math.isfinite(value):
            faults.add(path, "is beyond what a double holds")
            return None
        case _:
            return value


def _kind(value: Any) -> str:
    match value:
        case dict():
            return "an object"
        case list():
            return "an array"
        case str():
            return "text"
        case bool():
            return "true or false"
        case None:
            return "null"
        case _:
            return "a number"


def _invalid(field: str, description: str) -> Invalid:
    return Invalid([Violation(field, description)])
