"""How an inference goes on from here: by the native route, and counted by the form that it came in.

Nothing is decided here: which version answers, and who may ask, is settled on that route.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import grpc
from prometheus_client import Counter

from libs.identity import REQUEST_ID
from services.model_serving.servers.refusal import Refusal, Status, check_model, invalid, of_call

ROUTING_KEY = "x-penstock-routing-key"
SLOW_DOOR = "x-penstock-slow-door"
MARK = (SLOW_DOOR, "1")
Message = Any
Headers = Sequence[tuple[str, str]]

CALLS = Counter(
    "penstock_slow_door_calls_total",
    "Inferences that the native path could not read, by the form that they came in and how they ended.",
    ["form", "code"],
)


class NativeRoute(Protocol):
    async def infer(self, request: Message, metadata: Headers, seconds: float | None) -> tuple[Message, Headers]:
        """The answer and its x-penstock-* headers. Raises AioRpcError."""
        ...

    def stream(self, request: Message, metadata: Headers, seconds: float | None) -> AsyncIterator[Message]:
        """Each answer to one request. Raises AioRpcError."""
        ...


class Door:
    """`keys` are the caller's routing keys, `seconds` what is left of the caller's deadline, if there is one."""

    def __init__(self, route: NativeRoute) -> None:
        self._route = route

    async def infer(
        self, form: str, request: Message, keys: Sequence[str], seconds: float | None
    ) -> tuple[Message, Headers]:
        """The answer and the headers to give with it. Raises Refusal."""
        code = Status.CANCELLED
        try:
            answer, headers = await self._route.infer(request, _carried(request, keys), seconds)
            code = Status.OK
        except (Refusal, grpc.aio.AioRpcError, TimeoutError) as error:
            refused = _refused(error)
            code = refused.code
            raise refused from error
        finally:
            CALLS.labels(form, code.name).inc()
        return answer, (*headers, MARK)

    async def stream(
        self, request: Message, keys: Sequence[str], seconds: float | None, request_id: str
    ) -> AsyncIterator[Message]:
        """Each answer to one request of a stream: none, one or many. Raises Refusal.

        `request_id` is its own: each inference of a stream is a record by itself.
        """
        code = Status.CANCELLED
        try:
            carried = (*_carried(request, keys), (REQUEST_ID, request_id))
            failed = False
            async for answer in self._route.stream(request, carried, seconds):
                failed = failed or bool(answer.error_message)
                yield answer
            code = Status.UNKNOWN if failed else Status.OK
        except (Refusal, grpc.aio.AioRpcError, TimeoutError) as error:
            refused = _refused(error)
            code = refused.code
            raise refused from error
        finally:
            CALLS.labels("stream", code.name).inc()


def _carried(request: Message, keys: Sequence[str]) -> Headers:
    """Who asks travels by itself; the unit and the mark that this way was taken do not. Raises Refusal."""
    check_model(request.model_name, request.model_version)
    if not all(key.isascii() for key in keys):
        raise invalid(f"{ROUTING_KEY}: only ASCII can be passed on from the slow door")
    return (*((ROUTING_KEY, key) for key in keys), MARK)


def _refused(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, grpc.aio.AioRpcError):
        return of_call(error)
    return Refusal(Status.DEADLINE_EXCEEDED, "no answer within an hour")
