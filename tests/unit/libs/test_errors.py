"""Errors become statuses with their details, and a sibling's statuses become errors again."""

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from libs.errors import (
    AlreadyExists,
    Conflict,
    Denied,
    Exhausted,
    Invalid,
    NotFound,
    Precondition,
    TooLate,
    Unavailable,
    Violation,
    collecting,
)
from libs.statuses import code_of, status_of
from penstock.errors.v1.reason_pb2 import ErrorReason


def details(status, kind):
    found = []
    for detail in status.details:
        message = kind()
        if detail.Unpack(message):
            found.append(message)
    return found


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("MODEL_NOT_FOUND", "no model 'x'"), grpc.StatusCode.NOT_FOUND),
        (AlreadyExists("MODEL_EXISTS", "there is one"), grpc.StatusCode.ALREADY_EXISTS),
        (Invalid([Violation("a", "is wrong")]), grpc.StatusCode.INVALID_ARGUMENT),
        (Precondition("NO_WINNER", "none"), grpc.StatusCode.FAILED_PRECONDITION),
        (Conflict("ETAG_MISMATCH", "changed"), grpc.StatusCode.ABORTED),
        (Denied("ROLE_REQUIRED", "not you"), grpc.StatusCode.PERMISSION_DENIED),
        (TooLate("STORE_TIMEOUT", "given up"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (Exhausted("INVALID_REQUEST", "slow down"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Unavailable("STORE_UNAVAILABLE", "away"), grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_each_kind_has_its_code_and_a_reason_of_the_enum(error, code):
    assert code_of(error) is code
    (info,) = details(status_of(error), ErrorInfo)
    assert info.domain == "penstock"
    assert f"ERROR_REASON_{info.reason}" in set(ErrorReason.keys())


def test_a_subclass_of_one_of_the_nine_maps_like_it():
    class RouteNotFound(NotFound): ...

    assert code_of(RouteNotFound("ROUTE_NOT_FOUND", "none")) is grpc.StatusCode.NOT_FOUND


def test_every_fault_of_a_request_is_reported_at_once():
    with pytest.raises(Invalid) as raised, collecting() as faults:
        faults.require(False, "route.model", "is empty")
        faults.require(True, "route.timeout", "is fine")
        faults.require(0, "route.default_version", "is empty")
    (bad,) = details(status_of(raised.value), BadRequest)
    assert [v.field for v in bad.field_violations] == ["route.model", "route.default_version"]


def test_where_waiting_helps_the_status_says_for_how_long():
    (retry,) = details(status_of(Unavailable("STORE_UNAVAILABLE", "away", retry_after_seconds=1.5)), RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 1500
