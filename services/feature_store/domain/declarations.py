"""What may be declared: every fault of a declaration at once, by its path in the request."""

import re
from collections.abc import Iterable, Mapping, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from libs.errors import Faults, NotFound, PenstockError, Violation
from services.feature_store.domain.columns import NUMERIC, Field, ValueType
from services.feature_store.domain.definitions import (
    Aggregation,
    BatchSource,
    Entity,
    FeatureService,
    FeatureView,
    Function,
    OnDemandSource,
    StreamSource,
    Transformation,
)
from services.feature_store.domain.plan import Plan, origin, plan

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_SERVICE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_SECOND_US = 1_000_000
SHORTEST_WINDOW_US = _SECOND_US
LONGEST_WINDOW_US = 31 * 86_400 * _SECOND_US
LONGEST_DESCRIPTION = 4096
MOST_FIELDS = 500
MOST_FEATURES = 1_000


class Absent:
    """What is named but does not exist: an error of its own only when nothing else is wrong."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._names: list[tuple[str, str, str]] = []

    def add(self, reason: str, path: str, message: str) -> None:
        self._names.append((reason, path, message))

    def check(self) -> None:
        """Raise Invalid with everything, or NotFound with all the names."""
        if not self._names:
            self._faults.check()
            return
        if self._faults:
            for _, path, message in self._names:
                self._faults.add(path, message)
            self._faults.check()
        raise self._not_found()

    def _not_found(self) -> PenstockError:
        reason = self._names[0][0]
        violations = [Violation(path, message) for _, path, message in self._names]
        return NotFound(reason, "; ".join(dict.fromkeys(v.description for v in violations)), violations=violations)


def check_entity(entity: Entity, faults: Faults) -> None:
    """Raises Invalid with these faults and those that are in `faults` already."""
    _check_name(entity.name, "entity.name", faults)
    _check_description(entity.description, "entity.description", faults)
    faults.require(1 <= len(entity.join_keys) <= 4, "entity.join_keys", "1 to 4 are needed")
    _check_fields(entity.join_keys, "entity.join_keys", faults)
    for i, key in enumerate(entity.join_keys):
        exact = key.type is not ValueType.DOUBLE
        faults.require(exact, f"entity.join_keys[{i}].type", "DOUBLE cannot be a key: it is not exact")
    faults.check()


def check_view(
    view: FeatureView, entities: Mapping[str, Entity], views: Mapping[str, FeatureView], faults: Faults
) -> None:
    """`entities` and `views` hold those that exist of the ones that the view names. As `check_entity`, or NotFound."""
    absent = Absent(faults)
    _check_name(view.name, "feature_view.name", faults)
    _check_description(view.description, "feature_view.description", faults)
    on_demand = isinstance(view.source, OnDemandSource)
    faults.require(view.ttl_us >= 0, "feature_view.time_to_live", "is negative")
    if view.ttl_us and not isinstance(view.source, BatchSource):
        faults.add("feature_view.time_to_live", "only a batch view has one: a window says itself how far back it looks")
    if on_demand:
        faults.require(not view.entity, "feature_view.entity", "an on-demand view has none")
    elif faults.require(view.entity, "feature_view.entity", "is missing") and view.entity not in entities:
        absent.add("ENTITY_NOT_FOUND", "feature_view.entity", f"no entity {view.entity!r}")
    match view.source:
        case BatchSource(features):
            _check_fields(features, "feature_view.batch.features", faults, least=1)
        case StreamSource():
            _check_stream(view.source, faults)
        case OnDemandSource():
            _check_on_demand(view.source, views, faults, absent)
    entity = entities.get(view.entity)
    keys = {key.name for key in entity.join_keys} if entity else set[str]()
    for name in sorted(keys & {field.name for field in (*view.stored, *view.features)}):
        faults.add("feature_view", f"{name!r} is a join key of the entity, too")
    absent.check()


def check_service(service: FeatureService, views: Mapping[str, FeatureView], entities: Mapping[str, Entity]) -> Plan:
    """`views` and `entities` hold those that exist of the ones that the service reaches."""
    faults = Faults()
    absent = Absent(faults)
    path = "feature_service.features"
    valid = _SERVICE_NAME.fullmatch(service.name)
    faults.require(valid, "feature_service.name", "is not 1 to 63 of [A-Za-z0-9_.-]")
    _check_description(service.description, "feature_service.description", faults)
    faults.require(1 <= len(service.features) <= MOST_FEATURES, path, f"1 to {MOST_FEATURES} are needed")
    _check_unique([r.name for r in service.features], path, faults)
    for i, reference in enumerate(service.features):
        if reference.alias:
            _check_name(reference.alias, f"{path}[{i}].alias", faults)
        if not reference.view:
            _check_name(reference.feature, f"{path}[{i}].feature", faults)
            faults.require(
                reference.type, f"{path}[{i}].type", "is missing: this request feature has no view to say it"
            )
        else:
            _resolve(reference.view, reference.feature, views, f"{path}[{i}]", absent)
    absent.check()
    made = plan(service, views, entities, faults)
    faults.check()
    return made


def _check_stream(source: StreamSource, faults: Faults) -> None:
    _check_fields(source.event_fields, "feature_view.stream.event_fields", faults)
    path = "feature_view.stream.aggregations"
    faults.require(1 <= len(source.aggregations) <= MOST_FIELDS, path, f"1 to {MOST_FIELDS} are needed")
    _check_unique([a.feature for a in source.aggregations], path, faults)
    fields = {field.name: field for field in source.event_fields}
    for i, aggregation in enumerate(source.aggregations):
        _check_aggregation(aggregation, fields, f"{path}[{i}]", faults)


def _check_aggregation(aggregation: Aggregation, fields: Mapping[str, Field], path: str, faults: Faults) -> None:
    _check_name(aggregation.feature, f"{path}.feature", faults)
    within = SHORTEST_WINDOW_US <= aggregation.window_us <= LONGEST_WINDOW_US
    faults.require(within, f"{path}.window", "is not between 1 s and 31 days")
    if aggregation.function is Function.COUNT:
        faults.require(not aggregation.field, f"{path}.field", "COUNT reads none")
        return
    field = fields.get(aggregation.field)
    if faults.require(field, f"{path}.field", f"{aggregation.field!r} is not an event field of this view") and field:
        summable = field.type in {*NUMERIC, ValueType.BOOL}
        faults.require(summable, f"{path}.field", f"{field} cannot be aggregated: not INT64, DOUBLE or BOOL")


def _check_on_demand(source: OnDemandSource, views: Mapping[str, FeatureView], faults: Faults, absent: Absent) -> None:
    _check_fields(source.request_fields, "feature_view.on_demand.request_fields", faults)
    path = "feature_view.on_demand.transformations"
    faults.require(1 <= len(source.transformations) <= MOST_FIELDS, path, f"1 to {MOST_FIELDS} are needed")
    _check_unique([t.feature for t in source.transformations], path, faults)
    for i, made in enumerate(source.transformations):
        at = f"{path}[{i}]"
        _check_name(made.feature, f"{at}.feature", faults)
        _check_zone(made, f"{at}.time_zone", faults)
        takes = made.function.inputs
        faults.require(len(made.inputs) == takes, f"{at}.inputs", f"{made.function.value} takes {takes}")
        for j, name in enumerate(made.inputs):
            found = _input(name, source, views, f"{at}.inputs[{j}]", faults, absent)
            allowed = {ValueType.TIMESTAMP} if made.function.local else NUMERIC
            if found and found.type not in allowed:
                kinds = " or ".join(sorted(t.value for t in allowed))
                faults.add(f"{at}.inputs[{j}]", f"{found}: {made.function.value} takes {kinds}")


def _input(
    name: str, source: OnDemandSource, views: Mapping[str, FeatureView], path: str, faults: Faults, absent: Absent
) -> Field | None:
    view, feature = origin(name)
    if view:
        return _resolve(view, feature, views, path, absent)
    found = next((field for field in source.request_fields if field.name == name), None)
    faults.require(
        found, path, f"{name!r} is not a request field of this view; another view's feature is `view:feature`"
    )
    return found


def _resolve(view: str, feature: str, views: Mapping[str, FeatureView], path: str, absent: Absent) -> Field | None:
    if view not in views:
        absent.add("FEATURE_VIEW_NOT_FOUND", path, f"no feature view {view!r}")
        return None
    found = next((field for field in views[view].features if field.name == feature), None)
    if found is None:
        absent.add("FEATURE_NOT_FOUND", path, f"feature view {view!r} has no feature {feature!r}")
    return found


def _check_zone(made: Transformation, path: str, faults: Faults) -> None:
    if not made.function.local:
        faults.require(not made.time_zone, path, f"{made.function.value} has none")
        return
    try:
        ZoneInfo(made.time_zone)
    # zoneinfo looks the name up as a file: it may be a folder, or no name of a file at all
    except (ZoneInfoNotFoundError, ValueError, OSError):
        faults.add(path, f"{made.time_zone!r} is not an IANA time zone")


def _check_fields(fields: Sequence[Field], path: str, faults: Faults, least: int = 0) -> None:
    faults.require(least <= len(fields) <= MOST_FIELDS, path, f"{least} to {MOST_FIELDS} are needed")
    for i, field in enumerate(fields):
        _check_name(field.name, f"{path}[{i}].name", faults)
    _check_unique([field.name for field in fields], path, faults)


def _check_unique(names: Iterable[str], path: str, faults: Faults) -> None:
    seen: set[str] = set()
    for i, name in enumerate(names):
        faults.require(name not in seen, f"{path}[{i}]", f"{name!r} is there twice")
        seen.add(name)


def _check_description(text: str, path: str, faults: Faults) -> None:
    faults.require(len(text.encode()) <= LONGEST_DESCRIPTION, path, f"is longer than {LONGEST_DESCRIPTION} bytes")


def _check_name(name: str, path: str, faults: Faults) -> None:
    valid = _NAME.fullmatch(name)
    faults.require(valid, path, f"{name!r} is not 1 to 63 of [a-z0-9_], starting with a letter")
