"""The slow door: the Open Inference Protocol for what the native path cannot read, and for what is asked about models.

Inference only ever goes on by the native route, so that nothing passes the policy by.
"""

import re
from collections.abc import AsyncIterator, Sequence
from importlib import metadata
from typing import Any, Protocol

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2, service_pb2_grpc

from libs.identity import REQUEST_ID, caller
from services.model_serving.domain.catalogue import Catalogue
from services.model_serving.domain.deployment import Deployment, PlacementState
from services.model_serving.domain.loading import OUR_NAME
from services.model_serving.domain.model import MODEL_NAME
from services.model_serving.servers import statistics

ROUTING_KEY = "x-penstock-routing-key"
SLOW_DOOR = "x-penstock-slow-door"
ASK_SECONDS = 5.0
A_NUMBER = re.compile(r"[0-9]{1,18}")
Headers = Sequence[tuple[str, str]]
# tritonclient has no type stubs: its messages, and what is made of them, are only named here
Message = Any
pb: Any = service_pb2
_stubs: Any = service_pb2_grpc
Servicer: Any = _stubs.GRPCInferenceServiceServicer
SERVICE: str = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name


class NativeRoute(Protocol):
    async def infer(self, request: Message, metadata: Headers, seconds: float | None) -> tuple[Message, Headers]:
        """The answer and its x-penstock-* headers. Raises AioRpcError."""
        ...


class Servers(Protocol):
    def stub(self, address: str) -> Any: ...


class SlowDoor(Servicer):
    def __init__(self, route: NativeRoute, catalogue: Catalogue, servers: Servers) -> None:
        self._route = route
        self._catalogue = catalogue
        self._servers = servers

    def add_to(self, server: grpc.aio.Server) -> None:
        # first, so that these two take bytes: what cannot be decoded is then the caller's fault, not an internal one
        one, many = pb.ModelInferResponse.SerializeToString, pb.ModelStreamInferResponse.SerializeToString
        raw = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer, _as_is, one),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream, _as_is, many),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, raw),))
        _stubs.add_GRPCInferenceServiceServicer_to_server(self, server)

    async def _infer(self, data: bytes, context: Any) -> Message:
        request, fault = _read(data, context)
        if fault is not None:
            await context.abort(*fault)
        try:
            answer, headers = await self._route.infer(request, _passed_on(context), context.time_remaining())
        except grpc.aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "", ((SLOW_DOOR, "1"), *_said(error)))
            raise
        await context.send_initial_metadata((*headers, (SLOW_DOOR, "1")))
        return answer

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[Message]:
        """One native call after another; a failed one answers with its text and the stream goes on."""
        number = 0
        async for data in messages:
            number += 1
            request, fault = _read(data, context)
            if fault is not None:
                yield _failed(request, fault[1])
                continue
            # each inference is a record of its own, under an id of its own
            headers = (*_passed_on(context), (REQUEST_ID, f"{caller().request_id}.{number}"))
            try:
                answer, _ = await self._route.infer(request, headers, context.time_remaining())
            except grpc.aio.AioRpcError as error:
                yield _failed(request, error.details() or error.code().name)
            else:
                yield pb.ModelStreamInferResponse(infer_response=answer)

    async def ServerLive(self, request: Message, context: Any) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Message, context: Any) -> Message:
        """Whether any registered server answers."""
        return pb.ServerReadyResponse(ready=any(server.reachable for server in self._catalogue.servers))

    async def ServerMetadata(self, request: Message, context: Any) -> Message:
        extensions = ["model_configuration", "statistics", "binary_tensor_data"]
        version = metadata.version("penstock")
        return pb.ServerMetadataResponse(name=OUR_NAME, version=version, extensions=extensions)

    async def ModelReady(self, request: Message, context: Any) -> Message:
        await _check_version(request.version, context)
        address = self._catalogue.ready_address(request.name, request.version)
        return pb.ModelReadyResponse(ready=address is not None)

    async def ModelMetadata(self, request: Message, context: Any) -> Message:
        stub = await self._of_ready(request.name, request.version, context)
        return await _relayed(stub.ModelMetadata(request, timeout=ASK_SECONDS), context)

    async def ModelConfig(self, request: Message, context: Any) -> Message:
        stub = await self._of_ready(request.name, request.version, context)
        return await _relayed(stub.ModelConfig(request, timeout=ASK_SECONDS), context)

    async def ModelStatistics(self, request: Message, context: Any) -> Message:
        """Summed over the servers that have a deployed version ready."""
        ready = {
            (d.model, d.version): d.ready_addresses()
            for d in self._catalogue.deployments(request.name)
            if request.version in ("", d.version)
        }
        if request.name and not any(ready.values()):
            await context.abort(*_unknown(request.name, request.version))
        answers = [
            await _relayed(self._servers.stub(address).ModelStatistics(request, timeout=ASK_SECONDS), context)
            for address in sorted({address for addresses in ready.values() for address in addresses})
        ]
        return statistics.total(answers, ready.keys())

    async def RepositoryIndex(self, request: Message, context: Any) -> Message:
        """What is deployed, on whatever servers."""
        entries = [_entry(deployment) for deployment in self._catalogue.deployments()]
        return pb.RepositoryIndexResponse(
            models=[entry for entry in entries if entry.state == "READY" or not request.ready]
        )

    async def RepositoryModelLoad(self, request: Message, context: Any) -> None:
        await _refuse(context, "models are deployed by penstock.model_serving.v1.DeploymentService")

    async def RepositoryModelUnload(self, request: Message, context: Any) -> None:
        await _refuse(context, "deployments are deleted by penstock.model_serving.v1.DeploymentService")

    async def SystemSharedMemoryStatus(self, request: Message, context: Any) -> None:
        await _refuse(context, NO_MEMORY)

    async def SystemSharedMemoryRegister(self, request: Message, context: Any) -> None:
        await _refuse(context, NO_MEMORY)

    async def SystemSharedMemoryUnregister(self, request: Message, context: Any) -> None:
        await _refuse(context, NO_MEMORY)

    async def CudaSharedMemoryStatus(self, request: Message, context: Any) -> None:
        await _refuse(context, NO_MEMORY)

    async def CudaSharedMemoryRegister(self, request: Message, context: Any) -> None:
        await _refuse(context, NO_MEMORY)

    async def CudaSharedMemoryUnregister(self, request: Message, context: Any) -> None:
        await _refuse(context, NO_MEMORY)

    async def TraceSetting(self, request: Message, context: Any) -> None:
        await _refuse(context, "settings of one server are asked of that server")

    async def LogSettings(self, request: Message, context: Any) -> None:
        await _refuse(context, "settings of one server are asked of that server")

    async def _of_ready(self, model: str, version: str, context: Any) -> Any:
        await _check_version(version, context)
        address = self._catalogue.ready_address(model, version)
        if address is None:
            await context.abort(*_unknown(model, version))
            raise LookupError(model)
        return self._servers.stub(address)


NO_MEMORY = "a call may land on any server, so no memory can be shared with it: send tensors in the message"


def _as_is(data: bytes) -> bytes:
    return data


def _read(data: bytes, context: Any) -> tuple[Message, tuple[grpc.StatusCode, str] | None]:
    """The request, and why it cannot go on by the native route."""
    request = pb.ModelInferRequest()
    try:
        request.ParseFromString(data)
    except DecodeError:
        return request, (grpc.StatusCode.INVALID_ARGUMENT, "the message is no ModelInferRequest")
    return request, _fault(request, context)


def _fault(request: Message, context: Any) -> tuple[grpc.StatusCode, str] | None:
    if not request.model_name:
        return grpc.StatusCode.INVALID_ARGUMENT, "model_name is required"
    if not MODEL_NAME.fullmatch(request.model_name):
        return _unknown(request.model_name, request.model_version)
    if not all(key.isascii() for key in _keys(context)):
        return grpc.StatusCode.INVALID_ARGUMENT, f"{ROUTING_KEY}: only ASCII can be passed on from the slow door"
    return None


def _passed_on(context: Any) -> Headers:
    """Who asks travels by itself; the unit and the mark that this way was taken do not."""
    return *((ROUTING_KEY, key) for key in _keys(context)), (SLOW_DOOR, "1")


def _keys(context: Any) -> list[str]:
    return [str(value) for key, value in context.invocation_metadata() or () if key == ROUTING_KEY]


def _said(error: grpc.aio.AioRpcError) -> list[tuple[str, str]]:
    found = (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ()))
    return [(key, str(value)) for key, value in found if key.startswith("x-penstock-") and key != SLOW_DOOR]


def _failed(request: Message, text: str) -> Message:
    answer = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
    return pb.ModelStreamInferResponse(error_message=text, infer_response=answer)


async def _check_version(version: str, context: Any) -> None:
    """As a Triton refuses what is no version at all; one that is nowhere is another matter."""
    if version and not A_NUMBER.fullmatch(version):
        text = f"invalid model version specified {version!r}, version should be an integral value > 0"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)


def _unknown(model: str, version: str) -> tuple[grpc.StatusCode, str]:
    named = f"{model!r} version {version}" if version else f"{model!r}"
    return grpc.StatusCode.NOT_FOUND, f"Request for unknown model: {named} is not found"


async def _relayed(call: Any, context: Any) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        await context.abort(error.code(), error.details() or "")


async def _refuse(context: Any, text: str) -> None:
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, text)


def _entry(deployment: Deployment) -> Message:
    """A version is as far as its furthest server."""
    states = {placement.state for placement in deployment.placements}
    order = (
        (PlacementState.READY, "READY"),
        (PlacementState.LOADING, "LOADING"),
        (PlacementState.UNLOADING, "UNLOADING"),
    )
    state = next((name for member, name in order if member in states), "UNAVAILABLE")
    words = sorted({placement.message for placement in deployment.placements if placement.message})
    return pb.RepositoryIndexResponse.ModelIndex(
        name=deployment.model, version=deployment.version, state=state, reason="; ".join(words)
    )
