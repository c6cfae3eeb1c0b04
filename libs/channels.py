"""Channels to other services: traced, carrying the caller's identity, never without a deadline, never retrying.

Envoy's mesh listener owns retries (docs/adr); a retry here too would multiply them.
"""

from collections.abc import Callable
from typing import Any

import grpc
from opentelemetry.instrumentation.grpc import aio_client_interceptors  # pyright: ignore[reportUnknownVariableType]  untyped there

from libs.identity import caller

DEFAULT_DEADLINE_SECONDS = 5.0
MESSAGE_BYTES = 67 * 1024 * 1024
"""A tensor of 64 MiB and what is around it, as Envoy has it."""
OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", MESSAGE_BYTES),
    ("grpc.max_send_message_length", MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A neighbour that comes back must be seen within a second or so, not after gRPC's two minutes
    ("grpc.initial_reconnect_backoff_ms", 100),
    # gRPC's name for the limit of one attempt to connect: a busy neighbour may need more than a moment to say hello
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def _prepared(details: grpc.aio.ClientCallDetails, deadline: float | None) -> grpc.aio.ClientCallDetails:
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    for name, value in caller().headers():
        if name not in metadata:
            metadata.add(name, value)
    timeout = details.timeout if details.timeout is not None else deadline
    return grpc.aio.ClientCallDetails(
        details.method, timeout, metadata, details.credentials, wait_for_ready=details.wait_for_ready
    )


class UnaryPreparation(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline

    async def intercept_unary_unary(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_prepared(client_call_details, self._deadline), request)


class StreamPreparation(grpc.aio.UnaryStreamClientInterceptor):
    """A watch lives as long as its reader: keepalive ends it, not a deadline."""

    async def intercept_unary_stream(
        self, continuation: Callable[..., Any], client_call_details: grpc.aio.ClientCallDetails, request: Any
    ) -> Any:
        return await continuation(_prepared(client_call_details, None), request)


def open_channel(address: str, *, deadline_seconds: float | None = DEFAULT_DEADLINE_SECONDS) -> grpc.aio.Channel:
    """To `host:port`, usually the mesh listener. Connects when first used, and again whenever it must.

    `deadline_seconds` is that of a unary call which names none; None leaves it to the route that the call takes.
    """
    interceptors = [UnaryPreparation(deadline_seconds), StreamPreparation(), *aio_client_interceptors()]
    return grpc.aio.insecure_channel(address, options=OPTIONS, interceptors=interceptors)
