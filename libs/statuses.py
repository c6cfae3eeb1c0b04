"""Errors on the wire: ours to a gRPC status with details, and back."""

from collections.abc import Iterable, Mapping
from typing import Any as Anything
from typing import cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from libs import errors
from libs.bounds import MESSAGE_BYTES, bounded, cut, info, packed, violation

DOMAIN = "penstock"

CODES: Mapping[type[errors.PenstockError], grpc.StatusCode] = {
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Invalid: grpc.StatusCode.INVALID_ARGUMENT,
    errors.Precondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.Denied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.TooLate: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
}


def code_of(error: errors.PenstockError) -> grpc.StatusCode:
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def status_of(error: errors.PenstockError) -> Status:
    """The status with ErrorInfo, BadRequest where fields are to blame, RetryInfo where waiting helps; bounded."""
    message = cut(error.message, MESSAGE_BYTES)
    details = [packed(info(error.reason, DOMAIN, error.metadata))]
    status = Status(code=code_of(error).value[0], message=message, details=details)
    if error.violations or isinstance(error, errors.Invalid):
        violations = [violation(v.field, v.description) for v in error.violations]
        status.details.append(packed(BadRequest(field_violations=violations)))
    if error.retry_after_seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after_seconds * 1000))
        status.details.append(packed(RetryInfo(retry_delay=delay)))
    return bounded(status)


def reason_of(error: grpc.RpcError) -> str:
    """The ErrorInfo's reason of a failed call; empty when the status did not come from a Penstock service."""
    for detail in _details(error):
        said = ErrorInfo()
        if detail.Unpack(said) and said.domain == DOMAIN:
            return said.reason
    return ""


def _details(error: grpc.RpcError) -> Iterable[Any]:
    # an AioRpcError has all that from_call reads, though it is no grpc.Call
    status = cast(Status | None, rpc_status.from_call(cast(Anything, error)))
    return status.details if status else ()


def from_sibling(error: grpc.aio.AioRpcError, service: str) -> errors.PenstockError:
    """What a failed call to another service means to our caller: its own error again, or that it cannot be reached."""
    message = error.details() or error.code().name
    kinds = {code: kind for kind, code in CODES.items()}
    reason = reason_of(error)
    if reason and error.code() in kinds:
        if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
            return errors.Invalid(_violations(error) or [errors.Violation("", message)], reason=reason)
        return kinds[error.code()](reason, message, violations=_violations(error))
    return errors.Unavailable("SERVICE_UNAVAILABLE", f"{service} did not answer: {message}", service=service)


def _violations(error: grpc.aio.AioRpcError) -> list[errors.Violation]:
    found: list[errors.Violation] = []
    for detail in _details(error):
        bad = BadRequest()
        if detail.Unpack(bad):
            found += [errors.Violation(v.field, v.description) for v in bad.field_violations]
    return found
