"""ModelRegistryService."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import Message

from libs.clock import Clock
from libs.errors import Invalid, Violation, collecting
from libs.idempotency import Mutation
from libs.paging import Page, page
from penstock.model_serving.v1 import model_pb2
from penstock.model_serving.v1 import model_registry_service_pb2 as pb
from penstock.model_serving.v1.model_registry_service_pb2_grpc import (
    ModelRegistryServiceServicer,
    add_ModelRegistryServiceServicer_to_server,
)
from services.model_serving.domain import signature as signatures
from services.model_serving.domain.model import Model, ModelVersion, Stage, check_model, check_version
from services.model_serving.domain.signature import Signature
from services.model_serving.servers import messages

Answer = TypeVar("Answer", bound=Message)
Heard = TypeVar("Heard")


class Once(Protocol):
    """libs.idempotency.once, of this service's database."""

    async def __call__(
        self, request: Mutation, answer_type: type[Answer], perform: Callable[[], Awaitable[Answer]]
    ) -> Answer: ...


class OnceAfter(Protocol):
    """libs.idempotency.once_after, of this service's database."""

    async def __call__(
        self,
        request: Mutation,
        ask: Callable[[], Awaitable[Heard]],
        answer_type: type[Answer],
        perform: Callable[[Heard], Awaitable[Answer]],
    ) -> Answer: ...


class Registry(Protocol):
    """Models and versions; raises NotFound, AlreadyExists, Conflict, Unavailable."""

    async def create_model(self, model: Model) -> Model: ...
    async def get_model(self, name: str) -> Model: ...
    async def list_models(self, page: Page) -> tuple[Sequence[Model], str]: ...
    async def create_version(self, version: ModelVersion) -> ModelVersion: ...
    async def get_version(self, model: str, version: str) -> ModelVersion: ...
    async def list_versions(self, model: str, page: Page) -> tuple[Sequence[ModelVersion], str]: ...
    async def set_stage(self, model: str, version: str, stage: Stage, etag: str) -> ModelVersion: ...


class Artifacts(Protocol):
    """Uploaded files; raises Invalid, NotFound."""

    async def write(self, chunks: AsyncIterable[bytes]) -> tuple[str, int]: ...
    async def signature(self, digest: str) -> Signature:
        """With whole shapes."""
        ...


SERVICE = pb.DESCRIPTOR.services_by_name["ModelRegistryService"].full_name


class ModelRegistry(ModelRegistryServiceServicer):
    def __init__(self, registry: Registry, artifacts: Artifacts, once: Once, clock: Clock) -> None:
        self._registry = registry
        self._artifacts = artifacts
        self._once = once
        self._clock = clock

    def add_to(self, server: grpc.aio.Server) -> None:
        add_ModelRegistryServiceServicer_to_server(self, server)

    async def CreateModel(self, request: pb.CreateModelRequest, context: Any) -> pb.CreateModelResponse:
        wanted = messages.model_read(request.model, self._clock.now())
        with collecting() as faults:
            check_model(wanted, faults)

        async def perform() -> pb.CreateModelResponse:
            return pb.CreateModelResponse(model=messages.model(await self._registry.create_model(wanted)))

        return await self._once(request, pb.CreateModelResponse, perform)

    async def GetModel(self, request: pb.GetModelRequest, context: Any) -> pb.GetModelResponse:
        return pb.GetModelResponse(model=messages.model(await self._registry.get_model(request.name)))

    async def ListModels(self, request: pb.ListModelsRequest, context: Any) -> pb.ListModelsResponse:
        found, token = await self._registry.list_models(page(request.page_size, request.page_token))
        return pb.ListModelsResponse(models=map(messages.model, found), next_page_token=token)

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[pb.UploadArtifactRequest], context: Any
    ) -> pb.UploadArtifactResponse:
        digest, size = await self._artifacts.write(request.chunk async for request in request_iterator)
        return pb.UploadArtifactResponse(digest=digest, size=size)

    async def CreateModelVersion(
        self, request: pb.CreateModelVersionRequest, context: Any
    ) -> pb.CreateModelVersionResponse:
        said = request.model_version
        if said.stage not in messages.STAGES_READ:
            raise Invalid([Violation("model_version.stage", "no such stage")])
        wanted = messages.version_read(said, self._clock.now())
        with collecting() as faults:
            check_version(wanted, faults, external=said.external)
        if not wanted.external:
            wanted = await self._described(wanted)

        async def perform() -> pb.CreateModelVersionResponse:
            created = await self._registry.create_version(wanted)
            return pb.CreateModelVersionResponse(model_version=messages.version(created))

        return await self._once(request, pb.CreateModelVersionResponse, perform)

    async def _described(self, version: ModelVersion) -> ModelVersion:
        """With the signature and batch size that its file has, checked against what was said of them."""
        whole = await self._artifacts.signature(version.digest)
        with collecting() as faults:
            signatures.check_size(whole, faults)
            found, size = signatures.of_file(whole, version.max_batch_size, faults)
            if version.signature and not faults:
                signatures.compare(version.signature, found, faults)
        return replace(version, signature=version.signature or found, max_batch_size=size)

    async def GetModelVersion(self, request: pb.GetModelVersionRequest, context: Any) -> pb.GetModelVersionResponse:
        found = await self._registry.get_version(request.model, request.version)
        return pb.GetModelVersionResponse(model_version=messages.version(found))

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Any
    ) -> pb.ListModelVersionsResponse:
        found, token = await self._registry.list_versions(request.model, page(request.page_size, request.page_token))
        return pb.ListModelVersionsResponse(model_versions=map(messages.version, found), next_page_token=token)

    async def UpdateModelVersion(
        self, request: pb.UpdateModelVersionRequest, context: Any
    ) -> pb.UpdateModelVersionResponse:
        said = request.model_version
        with collecting() as faults:
            only_stage = list(request.update_mask.paths) == ["stage"]
            faults.require(only_stage, "update_mask", "must be `stage`: nothing else of a version ever changes")
            known = said.stage != model_pb2.STAGE_UNSPECIFIED and said.stage in messages.STAGES_READ
            faults.require(known, "model_version.stage", "required")

        async def perform() -> pb.UpdateModelVersionResponse:
            stage = messages.STAGES_READ[said.stage]
            changed = await self._registry.set_stage(said.model, said.version, stage, said.etag)
            return pb.UpdateModelVersionResponse(model_version=messages.version(changed))

        return await self._once(request, pb.UpdateModelVersionResponse, perform)
