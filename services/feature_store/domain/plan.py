"""What a feature service asks of its callers and of the stores, worked out once from what was declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from libs.errors import Faults
from services.feature_store.domain.codec import RowCodec
from services.feature_store.domain.columns import Column, Field
from services.feature_store.domain.definitions import Entity, FeatureService, FeatureView, OnDemandSource
from services.feature_store.domain.features import Feature, computed
from services.feature_store.domain.transformations import transform


@dataclass(frozen=True)
class StoredView:
    """A batch or stream view with the entity that its rows are about."""

    view: FeatureView
    entity: Entity
    features: tuple[str, ...]
    """Those that are wanted."""

    @cached_property
    def codec(self) -> RowCodec:
        return RowCodec(self.view.schema_id, self.view.stored)


@dataclass(frozen=True)
class Plan:
    service: FeatureService
    join_keys: tuple[Field, ...]
    request_fields: tuple[Field, ...]
    outputs: tuple[Field, ...]
    stored: tuple[StoredView, ...]
    on_demand: Mapping[str, FeatureView]

    def assemble(self, read: Mapping[tuple[str, str], Feature], request: Mapping[str, Column]) -> list[Feature]:
        """The service's features in order, from what was read of (view, feature) and from what the caller sent."""
        done = dict(read)

        def value(view: str, feature: str) -> Feature:
            if not view:
                return computed(request[feature])
            if (view, feature) not in done:
                source = self.on_demand[view].source
                assert isinstance(source, OnDemandSource)  # noqa: S101  the planner sorted the views by their source
                made = next(t for t in source.transformations if t.feature == feature)
                columns = [value(*origin(name)).values for name in made.inputs]
                done[view, feature] = computed(transform(made, columns))
            return done[view, feature]

        return [value(reference.view, reference.feature) for reference in self.service.features]


def origin(name: str) -> tuple[str, str]:
    """(view, feature) of an on-demand feature's input; the view is empty for a request field."""
    view, _, feature = name.rpartition(":")
    return view, feature


def plan(
    service: FeatureService, views: Mapping[str, FeatureView], entities: Mapping[str, Entity], faults: Faults
) -> Plan:
    """Work out a service whose references all resolve; `views` and `entities` hold all that it can reach.

    Adds a fault for a key or request feature that is wanted with two types.
    """
    wanted: dict[str, set[str]] = {}
    request_fields = [Field(r.feature, r.type) for r in service.features if not r.view and r.type]
    pending = [(reference.view, reference.feature) for reference in service.features]
    while pending:
        view_name, feature = pending.pop()
        if not view_name or feature in wanted.setdefault(view_name, set()):
            continue
        wanted[view_name].add(feature)
        source = views[view_name].source
        if isinstance(source, OnDemandSource):
            made = next(t for t in source.transformations if t.feature == feature)
            inputs = [origin(name) for name in made.inputs]
            pending += [pair for pair in inputs if pair[0]]
            needed = {name for view, name in inputs if not view}
            request_fields += [field for field in source.request_fields if field.name in needed]
    stored = tuple(
        StoredView(views[name], entities[views[name].entity], tuple(sorted(features)))
        for name, features in sorted(wanted.items())
        if not isinstance(views[name].source, OnDemandSource)
    )
    join_keys = [key for bound in stored for key in bound.entity.join_keys]
    types = {(name, f.name): f.type for name, view in views.items() for f in view.features}
    types |= {("", r.feature): r.type for r in service.features if not r.view and r.type}
    outputs = tuple(Field(r.name, types[r.view, r.feature]) for r in service.features)
    return Plan(
        service=service,
        join_keys=_agreed(join_keys, "join key", faults),
        request_fields=_agreed(request_fields, "request feature", faults),
        outputs=outputs,
        stored=stored,
        on_demand={name: views[name] for name in wanted if isinstance(views[name].source, OnDemandSource)},
    )


def _agreed(fields: Sequence[Field], what: str, faults: Faults) -> tuple[Field, ...]:
    """Each name once."""
    known: dict[str, Field] = {}
    for field in fields:
        first = known.setdefault(field.name, field)
        if first.type is not field.type:
            types = f"{first.type.value} and {field.type.value}"
            faults.add("feature_service.features", f"{what} {field.name!r} is wanted as {types}")
    return tuple(sorted(known.values(), key=lambda field: field.name))
