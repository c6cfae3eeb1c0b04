"""What an entry of Envoy's access log stream says; entries are made as Envoy 1.40 makes them for our bootstrap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from hypothesis import given
from hypothesis import strategies as st

from libs.clock import SystemClock
from services.health_monitoring.domain.allowance import Allowance
from services.health_monitoring.domain.blame import asked, blames_server
from services.health_monitoring.domain.calls import Attempt
from services.health_monitoring.servers.access_log import DROPPED, AccessLogServicer, attempt_of

FLAGS = {
    "refused": "upstream_connection_failure",
    "broken": "upstream_connection_termination",
    "reset": "upstream_remote_reset",
    "too slow": "upstream_request_timeout",
}


def entry(
    *,
    trailer: str = "",
    header: str = "",
    flag: str = "",
    chain: str = "2,2,other/3",
    attempt: str = "1",
    code: int = 200,
    seconds: float = 0.25,
    host: str = "127.0.0.1",
) -> Any:
    made = accesslog_pb2.HTTPAccessLogEntry()
    common = made.common_properties
    common.upstream_remote_address.socket_address.address = host
    common.upstream_remote_address.socket_address.port_value = 8001
    common.duration.seconds, common.duration.nanos = int(seconds), round(seconds % 1 * 1e9)
    if flag:
        setattr(common.response_flags, flag, True)
    headers = {"x-penstock-scope": "flight-delay", "x-penstock-chain": chain, "x-envoy-attempt-count": attempt}
    made.request.request_headers.update({name: value for name, value in headers.items() if value})
    made.response.response_code.value = code
    if trailer:
        made.response.response_trailers["grpc-status"] = trailer
    if header:
        made.response.response_headers["grpc-status"] = header
    return made


def test_an_answer() -> None:
    found = attempt_of(entry(trailer="0"))
    assert found is not None
    assert (found.model, found.version, found.address) == ("flight-delay", "2", "127.0.0.1:8001")
    assert (found.status, found.blamed, found.reached, found.seconds) == (0, False, True, 0.25)


def test_a_later_attempt_is_counted_for_the_version_that_it_asked_for() -> None:
    third = attempt_of(entry(trailer="0", attempt="3"))
    assert third is not None
    assert (third.model, third.version) == ("other", "3")


@pytest.mark.parametrize("where", ["trailer", "header"])
@pytest.mark.parametrize(
    ("status", "blamed"), [("0", False), ("3", False), ("8", False), ("13", True), ("14", True), ("2", True)]
)
def test_a_status_counts_in_trailers_and_in_headers(where: str, status: str, blamed: bool) -> None:
    found = attempt_of(entry(**{where: status}))
    assert found is not None
    assert (found.status, found.blamed) == (int(status), blamed)


@pytest.mark.parametrize(
    ("flag", "status", "reached"),
    [("refused", 14, False), ("broken", 14, True), ("reset", 14, True), ("too slow", 4, True)],
)
def test_no_answer_at_all_tells_against_the_server(flag: str, status: int, reached: bool) -> None:
    found = attempt_of(entry(flag=FLAGS[flag], code=0))
    assert found is not None
    assert (found.status, found.blamed, found.reached) == (status, True, reached)


def test_a_caller_that_left_tells_nothing() -> None:
    found = attempt_of(entry(code=0, seconds=30))
    assert found is not None
    assert (found.status, found.blamed) == (1, False)


def test_a_deadline_tells_against_the_server_only_if_it_was_fair() -> None:
    hasty, patient = attempt_of(entry(header="4", seconds=0.001)), attempt_of(entry(header="4", seconds=1.5))
    assert hasty is not None
    assert patient is not None
    assert (hasty.blamed, patient.blamed) == (False, True)


@pytest.mark.parametrize("fault", [{"chain": ""}, {"attempt": "4"}, {"attempt": "0"}, {"attempt": "x"}])
def test_what_is_no_attempt_at_a_version_is_ignored(fault: dict[str, str]) -> None:
    assert attempt_of(entry(trailer="0", **fault)) is None


def test_without_a_server_there_is_nobody_to_blame() -> None:
    unsent = entry(header="14")
    unsent.common_properties.ClearField("upstream_remote_address")
    assert attempt_of(unsent) is None


def test_an_ipv6_server() -> None:
    found = attempt_of(entry(trailer="0", host="::1"))
    assert found is not None
    assert found.address == "[::1]:8001"


@given(st.text(max_size=20), st.text(max_size=40), st.integers(-2, 10))
def test_whatever_the_headers_say_it_is_read_or_refused(scope: str, chain: str, attempt: int) -> None:
    found = asked(scope, chain, attempt)
    assert found is None or all(found)


@given(st.integers(0, 16), st.floats(0, 100), st.booleans())
def test_success_and_cancellation_blame_nobody(status: int, seconds: float, own_limit: bool) -> None:
    if status in (0, 1, 3, 5, 7, 8, 9, 16):
        assert not blames_server(status, seconds, own_limit=own_limit)


async def test_what_comes_beyond_the_allowance_is_not_even_read() -> None:
    class Nobody:
        def called(self, attempt: Attempt, second: int) -> bool:
            raise AssertionError((attempt, second))

    async def messages() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"not a message at all"

    before = DROPPED._value.get()
    await AccessLogServicer(Nobody(), SystemClock(), Allowance(0.0)).stream(messages(), None)
    assert DROPPED._value.get() - before == 3
