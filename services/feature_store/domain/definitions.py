"""What data engineers declare. All of it is immutable: what a model was trained on must mean the same for ever."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias

from services.feature_store.domain.columns import Field, ValueType


@dataclass(frozen=True)
class Entity:
    """What features are about; `join_keys` together name one instance."""

    name: str
    join_keys: tuple[Field, ...]
    description: str = ""
    etag: str = ""
    create_time: datetime | None = None


class Function(Enum):
    """Over a window."""

    COUNT = "COUNT"
    SUM = "SUM"
    MEAN = "MEAN"
    MIN = "MIN"
    MAX = "MAX"


@dataclass(frozen=True)
class Aggregation:
    """A feature over the events of [q - window, q)."""

    feature: str
    function: Function
    field: str
    """Empty for COUNT."""
    window_us: int

    @property
    def type(self) -> ValueType:
        return ValueType.INT64 if self.function is Function.COUNT else ValueType.DOUBLE


class Transform(Enum):
    """Of other values of the same row."""

    LOCAL_HOUR = "LOCAL_HOUR"
    LOCAL_WEEKDAY = "LOCAL_WEEKDAY"
    DIFFERENCE = "DIFFERENCE"
    RATIO = "RATIO"

    @property
    def local(self) -> bool:
        """Whether it reads a clock on a wall somewhere."""
        return self in (Transform.LOCAL_HOUR, Transform.LOCAL_WEEKDAY)

    @property
    def type(self) -> ValueType:
        return ValueType.INT64 if self.local else ValueType.DOUBLE

    @property
    def inputs(self) -> int:
        return 1 if self.local else 2


@dataclass(frozen=True)
class Transformation:
    feature: str
    function: Transform
    inputs: tuple[str, ...]
    """Request fields, or `view:feature`."""
    time_zone: str


@dataclass(frozen=True)
class BatchSource:
    """Rows as they are written."""

    features: tuple[Field, ...]


@dataclass(frozen=True)
class StreamSource:
    """Raw events, aggregated at reading."""

    event_fields: tuple[Field, ...]
    aggregations: tuple[Aggregation, ...]

    @property
    def longest_us(self) -> int:
        return max(aggregation.window_us for aggregation in self.aggregations)


@dataclass(frozen=True)
class OnDemandSource:
    """Computed at reading."""

    request_fields: tuple[Field, ...]
    transformations: tuple[Transformation, ...]


Source: TypeAlias = BatchSource | StreamSource | OnDemandSource


@dataclass(frozen=True)
class FeatureView:
    name: str
    entity: str
    """Empty for an on-demand view."""
    source: Source
    ttl_us: int = 0
    """0: never too old."""
    description: str = ""
    etag: str = ""
    create_time: datetime | None = None
    view_id: int = 0
    """Assigned by the registry, unique over all tenants: the field of the view in an entity's hash in Redis."""
    schema_id: int = 0
    """Assigned by the registry: names the fields of a packed row."""

    @property
    def features(self) -> tuple[Field, ...]:
        """What readers get."""
        match self.source:
            case BatchSource(features):
                return features
            case StreamSource(_, aggregations):
                return tuple(Field(a.feature, a.type) for a in aggregations)
            case OnDemandSource(_, transformations):
                return tuple(Field(t.feature, t.function.type) for t in transformations)

    @property
    def stored(self) -> tuple[Field, ...]:
        """What writers send beside the join keys; nothing for an on-demand view."""
        match self.source:
            case BatchSource(features):
                return features
            case StreamSource(event_fields, _):
                return event_fields
            case OnDemandSource():
                return ()


@dataclass(frozen=True)
class FeatureReference:
    view: str
    """Empty: a request feature that is passed through."""
    feature: str
    alias: str = ""
    type: ValueType | None = None
    """Of a request feature."""

    @property
    def name(self) -> str:
        """In the service."""
        return self.alias or self.feature


@dataclass(frozen=True)
class FeatureService:
    """The ordered features that a model version is given."""

    name: str
    features: tuple[FeatureReference, ...]
    description: str = ""
    etag: str = ""
    create_time: datetime | None = None
