"""Declaring entities, views and feature services, and finding them again."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from libs.clock import Clock
from libs.errors import Faults, NotFound
from services.feature_store.domain.declarations import check_entity, check_service, check_view
from services.feature_store.domain.definitions import Entity, FeatureService, FeatureView, OnDemandSource
from services.feature_store.domain.plan import Plan, StoredView, origin, plan

Definition = TypeVar("Definition", Entity, FeatureView, FeatureService)


class RegistryStore(Protocol):
    """Definitions of one tenant are apart from another's. Unavailable when it cannot be reached."""

    async def add_entity(self, tenant: str, entity: Entity) -> None:
        """AlreadyExists."""
        ...

    async def add_view(self, tenant: str, view: FeatureView) -> FeatureView:
        """With its ids. AlreadyExists."""
        ...

    async def add_service(self, tenant: str, service: FeatureService) -> None:
        """AlreadyExists."""
        ...

    async def entities(self, tenant: str, names: Sequence[str]) -> Mapping[str, Entity]: ...
    async def views(self, tenant: str, names: Sequence[str]) -> Mapping[str, FeatureView]: ...
    async def service(self, tenant: str, name: str) -> FeatureService | None: ...

    async def list_entities(self, tenant: str, after: str, most: int) -> Sequence[Entity]: ...
    async def list_views(self, tenant: str, after: str, most: int) -> Sequence[FeatureView]: ...
    async def list_services(self, tenant: str, after: str, most: int) -> Sequence[FeatureService]: ...


@dataclass(frozen=True)
class Registrar:
    """Checks what is declared, and stamps it."""

    store: RegistryStore
    clock: Clock

    async def create_entity(self, tenant: str, entity: Entity, faults: Faults) -> Entity:
        """`faults` are those that reading the request has found. Invalid, AlreadyExists."""
        check_entity(entity, faults)
        stamped = self._stamped(entity)
        await self.store.add_entity(tenant, stamped)
        return stamped

    async def create_view(self, tenant: str, view: FeatureView, faults: Faults) -> FeatureView:
        """As `create_entity`, or NotFound."""
        entities = await self.store.entities(tenant, [view.entity])
        views = await self.store.views(tenant, sorted(_inputs(view)))
        check_view(view, entities, views, faults)
        return await self.store.add_view(tenant, self._stamped(view))

    async def create_service(self, tenant: str, service: FeatureService) -> FeatureService:
        views, entities = await reachable(self.store, tenant, service)
        check_service(service, views, entities)
        stamped = self._stamped(service)
        await self.store.add_service(tenant, stamped)
        return stamped

    def _stamped(self, definition: Definition) -> Definition:
        etag = hashlib.sha256(repr(definition).encode()).hexdigest()[:16]
        return replace(definition, etag=etag, create_time=self.clock.now())


@dataclass(frozen=True)
class Catalog:
    """What serving needs of the registry, remembered: definitions never change and never go, so neither does a plan.

    What does not exist is not remembered: it may exist a moment later, through another process.
    """

    store: RegistryStore
    _plans: dict[tuple[str, str], Plan] = field(default_factory=dict[tuple[str, str], Plan])
    _views: dict[tuple[str, str], StoredView] = field(default_factory=dict[tuple[str, str], StoredView])

    async def plan(self, tenant: str, service: str) -> Plan:
        """FEATURE_SERVICE_NOT_FOUND."""
        known = self._plans.get((tenant, service))
        if known is None:
            definition = await self.store.service(tenant, service)
            if definition is None:
                raise NotFound("FEATURE_SERVICE_NOT_FOUND", f"no feature service {service!r}", feature_service=service)
            views, entities = await reachable(self.store, tenant, definition)
            known = self._plans[tenant, service] = plan(definition, views, entities, Faults())
        return known

    async def view(self, tenant: str, name: str) -> StoredView | FeatureView:
        """A batch or stream view with its entity; an on-demand view, to which nothing can be written, as it is.

        FEATURE_VIEW_NOT_FOUND.
        """
        known = self._views.get((tenant, name))
        if known is not None:
            return known
        view = (await self.store.views(tenant, [name])).get(name)
        if view is None:
            raise NotFound("FEATURE_VIEW_NOT_FOUND", f"no feature view {name!r}", feature_view=name)
        if isinstance(view.source, OnDemandSource):
            return view
        entity = (await self.store.entities(tenant, [view.entity]))[view.entity]
        names = tuple(feature.name for feature in view.features)
        known = self._views[tenant, name] = StoredView(view, entity, names)
        return known


async def reachable(
    store: RegistryStore, tenant: str, service: FeatureService
) -> tuple[dict[str, FeatureView], Mapping[str, Entity]]:
    """Every existing view that the service reads, by whatever detour, and their entities."""
    views: dict[str, FeatureView] = {}
    wanted = {reference.view for reference in service.features if reference.view}
    while wanted:
        found = await store.views(tenant, sorted(wanted))
        views |= found
        wanted = {name for view in found.values() for name in _inputs(view)} - views.keys()
    entities = await store.entities(tenant, sorted({view.entity for view in views.values() if view.entity}))
    return views, entities


def _inputs(view: FeatureView) -> set[str]:
    """Views whose features it computes with."""
    if not isinstance(view.source, OnDemandSource):
        return set()
    return {origin(name)[0] for made in view.source.transformations for name in made.inputs} - {""}
