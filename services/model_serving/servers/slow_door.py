"""The gRPC form of the Open Inference Protocol, for what the native path cannot read and what is asked about models."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2, service_pb2_grpc

from libs.identity import caller
from services.model_serving.servers.door import MARK, ROUTING_KEY, Door
from services.model_serving.servers.questions import Questions
from services.model_serving.servers.refusal import Refusal, invalid, not_here
from services.model_serving.servers.streams import Stream

ENCODING = "x-penstock-encoding"
"""How the caller's messages are compressed: gRPC keeps that to itself, so Envoy says it again."""
COMPRESSIONS = {"gzip": grpc.Compression.Gzip, "deflate": grpc.Compression.Deflate}
# tritonclient has no type stubs: its messages, and what is made of them, are only named here
Message = Any
pb: Any = service_pb2
_stubs: Any = service_pb2_grpc
Servicer: Any = _stubs.GRPCInferenceServiceServicer
SERVICE: str = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
UNANSWERED = {
    "RepositoryModelLoad": "load",
    "RepositoryModelUnload": "unload",
    **{
        f"{kind}SharedMemory{verb}": "memory"
        for kind in ("System", "Cuda")
        for verb in ("Status", "Register", "Unregister")
    },
    "TraceSetting": "settings",
    "LogSettings": "settings",
}


class SlowDoor(Servicer):
    def __init__(self, door: Door, questions: Questions) -> None:
        self._door = door
        self._questions = questions

    def add_to(self, server: grpc.aio.Server) -> None:
        # first, so that these two take bytes: what cannot be decoded is then the caller's fault, not an internal one
        one, many = pb.ModelInferResponse.SerializeToString, pb.ModelStreamInferResponse.SerializeToString
        raw = {
            "ModelInfer": grpc.unary_unary_rpc_method_handler(self._infer, _as_is, one),
            "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(self._stream, _as_is, many),
            **{
                name: grpc.unary_unary_rpc_method_handler(_refusing(what), _as_is, _as_is)
                for name, what in UNANSWERED.items()
            },
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, raw),))
        _stubs.add_GRPCInferenceServiceServicer_to_server(self, server)

    async def _infer(self, data: bytes, context: Any) -> Message:
        encoding = _compress_alike(context)
        form = "grpc-compressed" if encoding else "grpc"
        try:
            answer, headers = await self._door.infer(form, decoded(data), _keys(context), context.time_remaining())
        except Refusal as refused:
            await _abort(refused, context)
            raise
        await context.send_initial_metadata(tuple(headers))
        return answer

    async def _stream(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[Message]:
        _compress_alike(context)
        keys, first_id = _keys(context), caller().request_id
        known: dict[str, bool] = {}

        def infer(request: Message, number: int) -> AsyncIterator[Message]:
            return self._door.stream(request, keys, context.time_remaining(), f"{first_id}.{number}")

        async def decoupled(model: str) -> bool:
            if model not in known:
                known[model] = await self._questions.decoupled(model)
            return known[model]

        stream = Stream(decoded, infer, decoupled)
        async for answer in stream.answers(messages):
            yield answer

    async def ServerLive(self, request: Message, context: Any) -> Message:
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Message, context: Any) -> Message:
        return pb.ServerReadyResponse(ready=self._questions.server_ready())

    async def ServerMetadata(self, request: Message, context: Any) -> Message:
        return self._questions.server()

    async def ModelReady(self, request: Message, context: Any) -> Message:
        async def ready() -> Message:
            return pb.ModelReadyResponse(ready=self._questions.ready(request.name, request.version))

        return await _told(ready(), context)

    async def ModelMetadata(self, request: Message, context: Any) -> Message:
        return await _told(self._questions.describe(request.name, request.version), context)

    async def ModelConfig(self, request: Message, context: Any) -> Message:
        return await _told(self._questions.config(request.name, request.version), context)

    async def ModelStatistics(self, request: Message, context: Any) -> Message:
        return await _told(self._questions.statistics(request.name, request.version), context)

    async def RepositoryIndex(self, request: Message, context: Any) -> Message:
        return self._questions.index(ready=request.ready)


def decoded(data: bytes) -> Message:
    """Raises Refusal."""
    try:
        return pb.ModelInferRequest.FromString(data)
    except DecodeError:
        raise invalid("the message is no ModelInferRequest") from None


def _as_is(data: bytes) -> bytes:
    return data


def _compress_alike(context: Any) -> str:
    """Answer as the caller's own messages are compressed; empty when they are not."""
    said: dict[str, str] = dict(context.invocation_metadata() or ())
    asked = said.get(ENCODING, "")
    if asked not in COMPRESSIONS:
        return ""
    context.set_compression(COMPRESSIONS[asked])
    return asked


def _keys(context: Any) -> list[str]:
    return [str(value) for key, value in context.invocation_metadata() or () if key == ROUTING_KEY]


def _refusing(what: str) -> Callable[[bytes, Any], Awaitable[bytes]]:
    async def refuse(data: bytes, context: Any) -> bytes:
        await _abort(not_here(what), context)
        return data

    return refuse


async def _told(answer: Awaitable[Message], context: Any) -> Message:
    try:
        return await answer
    except Refusal as refused:
        await context.abort(refused.code, refused.text)


async def _abort(refused: Refusal, context: Any) -> None:
    await context.abort(refused.code, refused.text, (MARK, *refused.headers))
