"""The native inference route, reached through the mesh listener: split, fallback, cost and health are decided there."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from libs.errors import Precondition
from services.model_serving.domain.prediction import Inference, Question
from services.model_serving.domain.tensors import Tensor, decode

# tritonclient has no type stubs
Message = Any
pb: Any = service_pb2
stubs: Any = service_pb2_grpc

LONGEST_SECONDS = 3600.0
"""Longer than any route lets a call take."""
ROUTING_KEY = "x-penstock-routing-key"
MODEL = "x-penstock-model"
STREAM = ("x-penstock-stream", "Stream")
SAYS = "x-penstock-"


class NativeRoute:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        """The channel must set no deadline of its own."""
        self._stub = stubs.GRPCInferenceServiceStub(channel)
        # one message out, then half closed: Envoy's filters read it as a ModelInfer, then STREAM makes one of it
        self._stream: Any = channel.unary_stream(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )

    async def infer(
        self, request: Message, metadata: Sequence[tuple[str, str]], seconds: float | None
    ) -> tuple[Message, Sequence[tuple[str, str]]]:
        """The answer and the x-penstock-* headers with it. Raises AioRpcError: the server's own, or Envoy's.

        Without `seconds` the route's own limit holds, as for a caller of the native path who sets no deadline.
        """
        call = self._stub.ModelInfer(request, metadata=((MODEL, request.model_name), *metadata), timeout=seconds)
        async with asyncio.timeout(LONGEST_SECONDS):
            answer = await call
        headers = [(key, str(value)) for key, value in await call.initial_metadata() if key.startswith(SAYS)]
        return answer, headers

    async def stream(
        self, request: Message, metadata: Sequence[tuple[str, str]], seconds: float | None
    ) -> AsyncIterator[Message]:
        """Each answer to one request of a stream. Raises as `infer` does."""
        call = self._stream(request, metadata=((MODEL, request.model_name), STREAM, *metadata), timeout=seconds)
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                async for answer in call:
                    yield answer
        finally:
            call.cancel()

    async def run(self, question: Question, inputs: Sequence[Tensor], seconds: float | None) -> Inference:
        request = pb.ModelInferRequest(model_name=question.model, model_version=question.version)
        for tensor in inputs:
            request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
            request.raw_input_contents.append(tensor.encoded())
        answer, headers = await self.infer(request, [(ROUTING_KEY, key) for key in question.routing_keys], seconds)
        said = dict(headers)
        try:
            outputs = [
                decode(output.name, output.datatype, list(output.shape), data)
                for output, data in zip(answer.outputs, answer.raw_output_contents, strict=True)
            ]
        except ValueError as unreadable:
            raise Precondition("SIGNATURE_MISSING", f"the answer cannot be read: {unreadable}") from unreadable
        degraded = said.get("x-penstock-degraded", "")
        return Inference(
            outputs=tuple(outputs),
            model=answer.model_name or question.model,
            version=said.get("x-penstock-model-version") or answer.model_version,
            experiment=said.get("x-penstock-experiment", ""),
            variant=said.get("x-penstock-variant", ""),
            degraded=tuple(part.strip() for part in degraded.split(",") if part.strip()),
        )
