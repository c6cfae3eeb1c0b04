"""A stream of a caller, answered as a Triton answers one.

Each request of it goes through the mesh as a call of its own, with one message out and any number back, so that policy,
records and counts are those of every inference. Answers of models that give one to each request come in the order of
the requests; those of decoupled models as they are made.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

from tritonclient.grpc import service_pb2

from services.model_serving.servers.refusal import Refusal

MOST_AHEAD = 64
"""Requests of one stream that are on their way at once; then none is read until one of them has ended."""
MOST_WAITING = 16
"""Answers that wait for a caller who is slow to read them; then Triton waits too."""
# tritonclient has no type stubs
Message = Any
pb: Any = service_pb2
Infer = Callable[[Message, int], AsyncIterator[Message]]
Read = Callable[[bytes], Message]


class Stream:
    """`infer` gives the answers to a request, which it is given with its number, from 1 on; `read` decodes a message;
    both raise Refusal. `decoupled` says of a model whether it gives other than one answer to a request."""

    def __init__(self, read: Read, infer: Infer, decoupled: Callable[[str], Awaitable[bool]]) -> None:
        self._decode = read
        self._infer = infer
        self._decoupled = decoupled
        self._room = asyncio.Semaphore(MOST_AHEAD)
        self._answers: asyncio.Queue[Message | None] = asyncio.Queue(MOST_WAITING)
        self._ordered: asyncio.Task[None] | None = None
        self._sequences: dict[str, asyncio.Task[None]] = {}

    async def answers(self, messages: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        running = asyncio.create_task(self._run(messages))
        try:
            while (answer := await self._answers.get()) is not None:
                yield answer
            await running
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def _run(self, messages: AsyncIterator[bytes]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                number = 0
                async for data in messages:
                    number += 1
                    await self._room.acquire()
                    await self._start(group, number, data)
        except Exception:  # whatever ends the reading, who waits for answers must hear of the end
            await self._answers.put(None)
            raise
        await self._answers.put(None)

    async def _start(self, group: asyncio.TaskGroup, number: int, data: bytes) -> None:
        try:
            request = self._decode(data)
        except Refusal as refused:
            request, fault = pb.ModelInferRequest(), refused
        else:
            fault = None
        in_order = fault is not None or not await self._decoupled(request.model_name)
        sequence = _sequence(request)
        call = self._call(number, request, fault, self._sequences.get(sequence), in_order, self._ordered)
        task = group.create_task(call)
        task.add_done_callback(lambda _: self._room.release())
        if in_order:
            self._ordered = task
        if sequence:
            self._sequences[sequence] = task
            task.add_done_callback(lambda done: self._forget(sequence, done))

    def _forget(self, sequence: str, done: asyncio.Task[None]) -> None:
        if self._sequences.get(sequence) is done:
            del self._sequences[sequence]

    async def _call(
        self,
        number: int,
        request: Message,
        fault: Refusal | None,
        same_sequence: asyncio.Task[None] | None,
        in_order: bool,
        before: asyncio.Task[None] | None,
    ) -> None:
        await _ended(same_sequence)
        held: list[Message] = []
        try:
            if fault is not None:
                raise fault
            async for answer in self._infer(request, number):
                if in_order:
                    held.append(answer)
                else:
                    await self._answers.put(answer)
        except Refusal as refused:
            held.append(_failed(request, refused))
        if in_order:
            await _ended(before)
        for answer in held:
            await self._answers.put(answer)


async def _ended(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        await asyncio.wait([task])


def _sequence(request: Message) -> str:
    """Model and correlation id; empty outside every sequence."""
    if "sequence_id" not in request.parameters:
        return ""
    given = request.parameters["sequence_id"]
    kind = given.WhichOneof("parameter_choice")
    value = getattr(given, kind) if kind else 0
    return f"{request.model_name} {value}" if value else ""


def _failed(request: Message, refused: Refusal) -> Message:
    answer = pb.ModelInferResponse(model_name=request.model_name, id=request.id)
    return pb.ModelStreamInferResponse(error_message=refused.text or refused.code.name, infer_response=answer)
