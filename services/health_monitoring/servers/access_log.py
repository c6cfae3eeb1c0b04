"""Envoy's access log stream: each entry is one attempt at one server, and may be lost.

deploy/envoy/bootstrap.yaml (`upstream_log`) says what Envoy puts into an entry.
"""

import logging
import time
from collections.abc import AsyncIterator
from typing import Any, Protocol

import grpc
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf.message import DecodeError
from prometheus_client import Counter, Histogram

from libs.clock import Clock
from libs.errors import Invalid, Violation
from services.health_monitoring.domain.allowance import Allowance
from services.health_monitoring.domain.blame import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    UNAVAILABLE,
    asked,
    blames_server,
    of_http,
)
from services.health_monitoring.domain.calls import Attempt

log = logging.getLogger(__name__)

# xds-protos brings no types
_als: Any = als_pb2

SERVICE: str = _als.DESCRIPTOR.services_by_name["AccessLogService"].full_name
NAMES = {code.value[0]: code.name for code in grpc.StatusCode}

LATENCY = Histogram(
    "ai_inference_latency",
    "Seconds that a server took for one attempt at an inference, as Envoy saw it, by gRPC status.",
    ["model", "version", "status"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
ENTRIES = Counter(
    "penstock_access_log_entries_total",
    "Entries of the access log stream: counted for a target, or ignored because they name none.",
    ["outcome"],
)
DROPPED = Counter(
    "penstock_access_log_messages_dropped_total",
    "Messages of the access log stream that were thrown away unread because reading took its share of time.",
)


class Calls(Protocol):
    def called(self, attempt: Attempt, second: int) -> bool:
        """Says whether the attempt belongs to a target."""
        ...


class AccessLogServicer:
    """Reads one message at a time and within its allowance: what comes faster is lost, never queued."""

    def __init__(self, calls: Calls, clock: Clock, allowance: Allowance) -> None:
        self._calls = calls
        self._clock = clock
        self._allowance = allowance
        self._counted = ENTRIES.labels("counted")
        self._ignored = ENTRIES.labels("ignored")

    def add_to(self, server: grpc.aio.Server) -> None:
        """As raw bytes, so that a message which is thrown away costs no parsing."""
        stream_unary: Any = grpc.stream_unary_rpc_method_handler
        handler = stream_unary(self.stream, response_serializer=_als.StreamAccessLogsResponse.SerializeToString)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": handler}),))

    async def stream(self, messages: AsyncIterator[bytes], _context: Any) -> Any:
        """Raises Invalid, which ends the stream, at the first message that is read and is none."""
        async for message in messages:
            started = time.perf_counter()
            if not self._allowance.left(started):
                DROPPED.inc()
                continue
            self.take(_read(message))
            self._allowance.spend(time.perf_counter() - started)
        return _als.StreamAccessLogsResponse()

    def take(self, message: Any) -> None:
        """Count the entries of a StreamAccessLogsMessage."""
        second = int(self._clock.monotonic())
        counted = 0
        for entry in message.http_logs.log_entry:
            attempt = attempt_of(entry)
            if attempt is not None and self._calls.called(attempt, second):
                status = NAMES.get(attempt.status, str(attempt.status))
                LATENCY.labels(attempt.model, attempt.version, status).observe(attempt.seconds)
                counted += 1
        self._counted.inc(counted)
        self._ignored.inc(len(message.http_logs.log_entry) - counted)


def _read(message: bytes) -> Any:
    try:
        return _als.StreamAccessLogsMessage.FromString(message)
    except DecodeError as error:
        log.warning("the access log stream ends: a message of %d bytes is no StreamAccessLogsMessage", len(message))
        raise Invalid([Violation("", "not a message of the type that this method takes")]) from error


def attempt_of(entry: Any) -> Attempt | None:
    """Of an HTTPAccessLogEntry; None for one that is no attempt at a model version on a server."""
    headers = entry.request.request_headers
    number = headers.get("x-envoy-attempt-count", "1")
    chosen = asked(
        headers.get("x-penstock-scope", ""), headers.get("x-penstock-chain", ""), int(number) if number.isdigit() else 0
    )
    common = entry.common_properties
    server = common.upstream_remote_address.socket_address
    if chosen is None or not server.port_value:
        return None
    seconds = common.duration.seconds + common.duration.nanos / 1e9
    status, own_limit, reached = _end_of(entry)
    host = f"[{server.address}]" if ":" in server.address else server.address
    return Attempt(
        model=chosen[0],
        version=chosen[1],
        address=f"{host}:{server.port_value}",
        status=status,
        blamed=blames_server(status, seconds, own_limit=own_limit),
        reached=reached,
        seconds=seconds,
    )


def _end_of(entry: Any) -> tuple[int, bool, bool]:
    """gRPC status, whether our own limit for an attempt ran out, whether there was a connection at all."""
    response = entry.response
    answered: str = response.response_trailers.get("grpc-status") or response.response_headers.get("grpc-status") or ""
    if answered.isdigit():
        return int(answered), False, True
    flags = entry.common_properties.response_flags
    if flags.upstream_request_timeout:
        return DEADLINE_EXCEEDED, True, True
    if flags.upstream_connection_failure:
        return UNAVAILABLE, False, False
    if flags.upstream_connection_termination or flags.upstream_remote_reset or flags.upstream_protocol_error:
        return UNAVAILABLE, False, True
    if response.response_code.value:
        return of_http(response.response_code.value), False, True
    return CANCELLED, False, True
