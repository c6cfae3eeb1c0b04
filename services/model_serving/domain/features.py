"""Features by name: what a caller gives, what is fetched, and the vector that they make."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from libs.errors import Faults, collecting

Scalar = int | float | str | bool | datetime | None
"""A value; None is null."""


class ValueType(Enum):
    INT64 = "INT64"
    DOUBLE = "DOUBLE"
    STRING = "STRING"
    BOOL = "BOOL"
    TIMESTAMP = "TIMESTAMP"


class FeatureStatus(Enum):
    """How a value was found."""

    PRESENT = "PRESENT"
    NULL = "NULL"
    NOT_FOUND = "NOT_FOUND"
    TOO_OLD = "TOO_OLD"


@dataclass(frozen=True)
class Field:
    name: str
    type: ValueType


@dataclass(frozen=True)
class Contract:
    """What a feature service asks of a caller and gives to a model."""

    name: str
    join_keys: tuple[Field, ...]
    request_fields: tuple[Field, ...]
    outputs: tuple[Field, ...]
    """In the order of the vector."""


@dataclass(frozen=True)
class Feature:
    """One column of the vector."""

    name: str
    value: Scalar
    """None unless the status is PRESENT."""
    status: FeatureStatus
    event_time_us: int = 0
    """When the value was true, microseconds since 1970-01-01 UTC; 0 for none."""

    @property
    def number(self) -> float:
        """As a model gets it: NaN when missing (text has no number either), seconds since 1970 for an instant."""
        match self.value:
            case None | str():
                return math.nan
            case datetime():
                return self.value.timestamp()
            case _:
                return float(self.value)


@dataclass(frozen=True)
class Query:
    """What is to be fetched: a row of join keys and one of request features, in their declared types."""

    entities: Mapping[str, tuple[ValueType, Scalar]]
    request_features: Mapping[str, tuple[ValueType, Scalar]]


@dataclass(frozen=True)
class Asked:
    """A caller's features, checked against the contract."""

    query: Query | None
    """None when the caller gave every feature, so that nothing is to be fetched."""
    overrides: Mapping[str, Feature]


def asked(contract: Contract, entities: Mapping[str, Scalar], features: Mapping[str, Scalar]) -> Asked:
    """Raises Invalid with every name that is unknown or missing and every value that is not of its type."""
    requested = {field.name for field in contract.request_fields}
    outputs = {field.name: field for field in contract.outputs}
    with collecting() as faults:
        keys = {field.name for field in contract.join_keys}
        for name in entities.keys() - keys:
            faults.add(f"entities[{name}]", _unknown(contract, "join key", sorted(keys)))
        for name in features.keys() - requested - outputs.keys():
            faults.add(f"features[{name}]", _unknown(contract, "feature", [*outputs, *sorted(requested)]))
        given = {name: value for name, value in features.items() if name in outputs}
        overrides = {name: _override(outputs[name], value, faults) for name, value in given.items()}
        query = None
        if overrides.keys() != outputs.keys():
            query = Query(
                _row("entities", contract.join_keys, entities, faults),
                _row("features", contract.request_fields, features, faults),
            )
    return Asked(query, overrides)


def vector(contract: Contract, fetched: Sequence[Feature], overrides: Mapping[str, Feature]) -> tuple[Feature, ...]:
    """In the contract's order; what the caller gave takes the place of what was fetched."""
    by_name = {feature.name: feature for feature in fetched} | dict(overrides)
    missing = FeatureStatus.NOT_FOUND
    return tuple(by_name.get(f.name) or Feature(f.name, None, missing) for f in contract.outputs)


def convert(value: Scalar, wanted: ValueType) -> Scalar:  # noqa: PLR0911  a table of types reads best as one
    """The value in the wanted type where nothing is lost; text is read as that type. Raises ValueError."""
    if value is None or (wanted is ValueType.STRING and isinstance(value, str)):
        return value
    match wanted, value:
        case ValueType.INT64, bool() | int() | str():
            return _int64(int(value))
        case ValueType.INT64, float() if value.is_integer():
            return _int64(int(value))
        case ValueType.DOUBLE, bool() | int() | float() | str():
            return float(value)
        case ValueType.BOOL, bool():
            return value
        case ValueType.BOOL, "true" | "false":
            return value == "true"
        case ValueType.TIMESTAMP, datetime():
            return value
        case ValueType.TIMESTAMP, str():
            return _instant(value)
        case _:
            raise ValueError(f"{type(value).__name__} {value!r} is no {wanted.value}")


def _int64(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        raise ValueError(f"{number} does not fit into 64 bits")
    return number


def _instant(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    try:
        return read.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is no time between the years 1 and 9999 in UTC") from error


def _override(field: Field, value: Scalar, faults: Faults) -> Feature:
    converted = _converted(f"features[{field.name}]", field, value, faults)
    return Feature(field.name, converted, FeatureStatus.NULL if converted is None else FeatureStatus.PRESENT)


def _row(
    kind: str, fields: Sequence[Field], given: Mapping[str, Scalar], faults: Faults
) -> dict[str, tuple[ValueType, Scalar]]:
    row: dict[str, tuple[ValueType, Scalar]] = {}
    for field in fields:
        path = f"{kind}[{field.name}]"
        if faults.require(field.name in given, path, f"missing, {field.type.value}"):
            row[field.name] = field.type, _converted(path, field, given[field.name], faults)
    return row


def _converted(path: str, field: Field, value: Scalar, faults: Faults) -> Scalar:
    try:
        return convert(value, field.type)
    except ValueError as error:
        faults.add(path, str(error))
        return None


def _unknown(contract: Contract, what: str, known: Sequence[str]) -> str:
    return f"feature service {contract.name} has no such {what}; it has {', '.join(known) or 'none'}"
