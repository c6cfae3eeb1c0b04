"""FeatureRegistryService."""

from typing import Any

from libs import paging
from libs.errors import Faults, Invalid, NotFound, Violation
from libs.idempotency import once
from libs.identity import caller
from libs.postgres import Database
from penstock.feature_store.v1 import feature_registry_service_pb2 as pb
from penstock.feature_store.v1.feature_registry_service_pb2_grpc import FeatureRegistryServiceServicer
from services.feature_store.domain.registration import Catalog, Registrar, RegistryStore
from services.feature_store.servers import definitions as wire


class FeatureRegistryServicer(FeatureRegistryServiceServicer):
    def __init__(self, database: Database, registrar: Registrar, store: RegistryStore, catalog: Catalog) -> None:
        self._database = database
        self._registrar = registrar
        self._store = store
        self._catalog = catalog

    async def CreateEntity(self, request: pb.CreateEntityRequest, context: Any) -> pb.CreateEntityResponse:
        faults = Faults()
        entity = wire.decode_entity(request.entity, faults)

        async def perform() -> pb.CreateEntityResponse:
            made = await self._registrar.create_entity(caller().tenant, entity, faults)
            return pb.CreateEntityResponse(entity=wire.encode_entity(made))

        return await once(self._database, request, pb.CreateEntityResponse, perform)

    async def GetEntity(self, request: pb.GetEntityRequest, context: Any) -> pb.GetEntityResponse:
        _require(request.name)
        found = (await self._store.entities(caller().tenant, [request.name])).get(request.name)
        if found is None:
            raise NotFound("ENTITY_NOT_FOUND", f"no entity {request.name!r}", entity=request.name)
        return pb.GetEntityResponse(entity=wire.encode_entity(found))

    async def ListEntities(self, request: pb.ListEntitiesRequest, context: Any) -> pb.ListEntitiesResponse:
        page = paging.page(request.page_size, request.page_token)
        found = await self._store.list_entities(caller().tenant, *_after(page))
        kept, token = page.split(found, lambda entity: (entity.name,))
        return pb.ListEntitiesResponse(entities=[wire.encode_entity(e) for e in kept], next_page_token=token)

    async def CreateFeatureView(
        self, request: pb.CreateFeatureViewRequest, context: Any
    ) -> pb.CreateFeatureViewResponse:
        faults = Faults()
        view = wire.decode_view(request.feature_view, faults)

        async def perform() -> pb.CreateFeatureViewResponse:
            made = await self._registrar.create_view(caller().tenant, view, faults)
            return pb.CreateFeatureViewResponse(feature_view=wire.encode_view(made))

        return await once(self._database, request, pb.CreateFeatureViewResponse, perform)

    async def GetFeatureView(self, request: pb.GetFeatureViewRequest, context: Any) -> pb.GetFeatureViewResponse:
        _require(request.name)
        found = (await self._store.views(caller().tenant, [request.name])).get(request.name)
        if found is None:
            raise NotFound("FEATURE_VIEW_NOT_FOUND", f"no feature view {request.name!r}", feature_view=request.name)
        return pb.GetFeatureViewResponse(feature_view=wire.encode_view(found))

    async def ListFeatureViews(self, request: pb.ListFeatureViewsRequest, context: Any) -> pb.ListFeatureViewsResponse:
        page = paging.page(request.page_size, request.page_token)
        found = await self._store.list_views(caller().tenant, *_after(page))
        kept, token = page.split(found, lambda view: (view.name,))
        return pb.ListFeatureViewsResponse(feature_views=[wire.encode_view(v) for v in kept], next_page_token=token)

    async def CreateFeatureService(
        self, request: pb.CreateFeatureServiceRequest, context: Any
    ) -> pb.CreateFeatureServiceResponse:
        service = wire.decode_service(request.feature_service)

        async def perform() -> pb.CreateFeatureServiceResponse:
            made = await self._registrar.create_service(caller().tenant, service)
            return pb.CreateFeatureServiceResponse(feature_service=wire.encode_service(made))

        return await once(self._database, request, pb.CreateFeatureServiceResponse, perform)

    async def GetFeatureService(
        self, request: pb.GetFeatureServiceRequest, context: Any
    ) -> pb.GetFeatureServiceResponse:
        _require(request.name)
        plan = await self._catalog.plan(caller().tenant, request.name)
        return pb.GetFeatureServiceResponse(
            feature_service=wire.encode_service(plan.service),
            join_keys=wire.encode_fields(plan.join_keys),
            request_fields=wire.encode_fields(plan.request_fields),
            outputs=wire.encode_fields(plan.outputs),
        )

    async def ListFeatureServices(
        self, request: pb.ListFeatureServicesRequest, context: Any
    ) -> pb.ListFeatureServicesResponse:
        page = paging.page(request.page_size, request.page_token)
        found = await self._store.list_services(caller().tenant, *_after(page))
        kept, token = page.split(found, lambda service: (service.name,))
        services = [wire.encode_service(service) for service in kept]
        return pb.ListFeatureServicesResponse(feature_services=services, next_page_token=token)


def _after(page: paging.Page) -> tuple[str, int]:
    return (page.after[0] if page.after else ""), page.lookahead


def _require(name: str) -> None:
    if not name:
        raise Invalid([Violation("name", "is missing")])
