"""What every call passes on its way into a service: span, identity, roles, time taken; and errors become statuses."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import aio_server_interceptor, filters  # pyright: ignore[reportUnknownVariableType]  untyped there
from prometheus_client import Histogram

from libs import call as current
from libs import identity
from libs.bounds import FIELD_BYTES, cut
from libs.contexts import BoundedContext
from libs.decoding import decoded, each_decoded, tolerant
from libs.errors import PenstockError
from libs.roles import require_role
from libs.statuses import DOMAIN, status_of

log = logging.getLogger(__name__)

RPC_SECONDS = Histogram(
    "penstock_rpc_duration_seconds",
    "Time from a call's request in hand to its answer made, or to the end of its stream, by service that answered.",
    ["service", "method", "code"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


def interceptors(provider: trace.TracerProvider | None = None) -> Sequence[grpc.aio.ServerInterceptor]:
    """In the order that a server wants. Probes make no spans: they would bury all others."""
    traced: Any = aio_server_interceptor(provider, filters.negate(filters.health_check()))
    return [traced, ServiceInterceptor()]


class ServiceInterceptor(grpc.aio.ServerInterceptor):
    """One interceptor for all four shapes of call, so that none can be forgotten."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        inner = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        metadata = {key: str(value) for key, value in handler_call_details.invocation_metadata or ()}
        read = each_decoded if handler.request_streaming else decoded
        if handler.response_streaming:
            behavior: Any = _streaming(cast(Any, inner), read, method, metadata)
        else:
            behavior = _unary(cast(Any, inner), read, method, metadata)
        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        return make(behavior, tolerant(handler.request_deserializer), handler.response_serializer)


def _unary(
    inner: Callable[[Any, Context], Awaitable[Any]], read: Callable[[Any], Any], method: str, metadata: dict[str, str]
) -> Any:
    async def call(request: Any, context: Context) -> Any:
        context = cast("Context", BoundedContext(context))
        _enter(method, metadata)
        started = time.perf_counter()
        try:
            require_role(method)
            return await inner(read(request), context)
        except asyncio.CancelledError:
            context.set_code(grpc.StatusCode.CANCELLED)
            raise
        except Exception as error:  # noqa: BLE001  every failure must leave as a status, never as its own text
            await _abort(error, context, method)
        finally:
            _observe(method, context, started)

    return call


def _streaming(
    inner: Callable[[Any, Context], AsyncIterator[Any]],
    read: Callable[[Any], Any],
    method: str,
    metadata: dict[str, str],
) -> Any:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        context = cast("Context", BoundedContext(context))
        _enter(method, metadata)
        started = time.perf_counter()
        try:
            require_role(method)
            async for answer in inner(read(request), context):
                yield answer
        except (asyncio.CancelledError, GeneratorExit):
            context.set_code(grpc.StatusCode.CANCELLED)
            raise
        except Exception as error:  # noqa: BLE001  as in _unary
            await _abort(error, context, method)
        finally:
            _observe(method, context, started)

    return call


def _enter(method: str, metadata: dict[str, str]) -> None:
    current.enter(method)
    identity.enter(metadata)
    request_id = identity.caller().request_id
    if request_id:
        trace.get_current_span().set_attribute("penstock.request_id", cut(request_id, FIELD_BYTES))


async def _abort(error: Exception, context: Context, method: str) -> None:
    if isinstance(error, PenstockError):
        await context.abort_with_status(cast(Any, rpc_status.to_status(status_of(error))))
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, NotImplementedError):
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{method} is not implemented")
    trace_id = f"{trace.get_current_span().get_span_context().trace_id:032x}"
    log.error("%s failed, trace %s", method, trace_id, exc_info=error)
    internal = _internal(trace_id)
    await context.abort_with_status(cast(Any, rpc_status.to_status(internal)))


def _internal(trace_id: str) -> Status:
    detail = Packed()
    detail.Pack(ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"trace_id": trace_id}))
    message = f"internal error; trace {trace_id}"
    return Status(code=grpc.StatusCode.INTERNAL.value[0], message=message, details=[detail])


def _observe(method: str, context: Context, started: float) -> None:
    _, service, name = method.split("/", 2)
    # Without a status set, context.code() is None or 0, whatever its annotation says
    code = cast(grpc.StatusCode | int | None, context.code()) or grpc.StatusCode.OK
    label = code.name if isinstance(code, grpc.StatusCode) else str(code)
    RPC_SECONDS.labels(service, name, label).observe(time.perf_counter() - started)
    if isinstance(code, grpc.StatusCode) and code is not grpc.StatusCode.OK:
        context.set_code(code)  # the span hears of this, but not of abort_with_status
