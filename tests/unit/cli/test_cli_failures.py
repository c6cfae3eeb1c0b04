"""Errors reach a person in plain words, with what to do next."""

import os
import subprocess
import sys

import grpc
import pytest
import typer

from clients.cli.failures import NEXT
from penstock.errors.v1.reason_pb2 import ErrorReason

# what no command can meet: it has a key and no token, declares no features, sends no request ids, speaks no JSON, and a
# wrong request names its fields
ELSEWHERE = {
    "UNSPECIFIED",
    "INVALID_REQUEST",
    "REQUEST_ID_REUSED",
    "ENTITY_EXISTS",
    "FEATURE_VIEW_EXISTS",
    "FEATURE_SERVICE_EXISTS",
    "PATH_NOT_FOUND",
    "REQUEST_TOO_LARGE",
    "ORIGIN_NOT_ALLOWED",  # of pages
    "TOKEN_INVALID",
    "TOKEN_CLAIM_MISSING",
    "TENANT_NOT_ALLOWED",
}


def test_a_refusal_says_what_to_do_next(penstock, capsys):
    running = penstock("route", "delete", "m")
    running.refuse("RoutingService", "DeleteRoute", grpc.StatusCode.NOT_FOUND, "no route for 'm'", "ROUTE_NOT_FOUND")
    assert running.failed() == 1
    said = capsys.readouterr().err
    assert "NOT_FOUND: no route for 'm'" in said
    assert "penstock route create" in said


def test_every_fault_of_the_request_is_listed(penstock, capsys):
    running = penstock("route", "create", "m", "--version", "x")
    faults = [("route.default_version", "is not a number"), ("route.model", "has a space")]
    running.refuse(
        "RoutingService", "CreateRoute", grpc.StatusCode.INVALID_ARGUMENT, "wrong", "INVALID_REQUEST", faults
    )
    assert running.failed() == 1
    said = capsys.readouterr().err
    assert "  route.default_version: is not a number" in said
    assert "  route.model: has a space" in said


def test_every_reason_that_a_command_can_meet_has_a_next_step():
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118  a wrapper, no dict
    assert set(NEXT) == reasons - ELSEWHERE


def test_what_the_state_of_things_forbids_is_no_wrong_request(penstock, capsys):
    running = penstock("experiment", "start", "e")
    faults = [("variants[1].version", "version 2 is ready on no server")]
    running.refuse(
        "ExperimentationService",
        "StartExperiment",
        grpc.StatusCode.FAILED_PRECONDITION,
        "not ready",
        "VERSION_NOT_READY",
        faults,
    )
    assert running.failed() == 1
    said = capsys.readouterr().err
    assert said.startswith("Not as things stand:\n  variants[1].version: version 2 is ready on no server\n")
    assert "penstock deploy create" in said


@pytest.mark.parametrize(
    ("code", "message", "told"),
    [
        # Envoy's words for a service that is down
        ("UNAVAILABLE", "upstream connect error or disconnect/reset before headers", "the service behind it does not"),
        ("UNAVAILABLE", "no healthy upstream", "`penstock status`"),
        ("DEADLINE_EXCEEDED", "Deadline Exceeded", "`penstock status`"),
        # a Triton's port in the place of the ingress
        ("UNIMPLEMENTED", "", "--address must be its host:port"),
    ],
)
def test_an_answer_that_no_service_gave(penstock, capsys, code, message, told):
    running = penstock("route", "list")
    running.refuse("RoutingService", "ListRoutes", grpc.StatusCode[code], message)
    assert running.failed() == 1
    assert told in capsys.readouterr().err


def test_the_log_of_no_part(penstock, capsys):
    assert penstock("logs").failed() == 1
    said = capsys.readouterr().err
    assert "triton-a" in said
    assert "penstock logs routing" in said


def test_a_status_of_nothing(tmp_path):
    assert command("status", PENSTOCK_HOME=str(tmp_path)) == (
        1,
        "Nothing is running.\n`penstock up` starts the stack.\n",
    )


def test_nobody_there(penstock, capsys):
    running = penstock("route", "list")
    running.refuse("RoutingService", "ListRoutes", grpc.StatusCode.UNAVAILABLE, "connection refused")
    assert running.failed() == 1
    said = capsys.readouterr().err
    assert "does not answer at ingress.example:1" in said
    assert "penstock up" in said


def test_fewer_than_no_lines(penstock, capsys):
    assert penstock("logs", "routing", "-n", "-5").failed() == 1
    assert capsys.readouterr().err == "-5 lines cannot be shown: name 0 or more\n"


def command(*arguments, **environment):
    """The command as a person runs it, with no session of a test's; its exit status and what it wrote to stderr."""
    run = subprocess.run(
        [sys.executable, "-m", "clients.cli", *arguments],
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in run.stderr
    return run.returncode, run.stderr


def test_a_port_offset_that_is_no_number():
    assert command("status", PENSTOCK_PORT_OFFSET="abc") == (1, "PENSTOCK_PORT_OFFSET: 'abc' is not a number\n")


def test_an_address_where_nobody_is(tmp_path):
    where = f"unix:{tmp_path}/nobody"
    code, said = command("--address", where, "route", "list")
    assert code == 1
    assert f"Penstock does not answer at {where}." in said


def test_a_credential_that_no_header_can_carry():
    code, said = command("--api-key", "é", "--address", "x:1", "route", "list")
    assert code != 0
    assert "only printable ASCII" in said


@pytest.mark.parametrize(
    "arguments",
    [
        ("route", "update", "m"),
        ("route", "create", "m", "--version", "1", "--balance", "fair"),
        ("model", "register", "m"),
        ("model", "stage", "m", "1", "perfect"),
        ("predict", "m", "-f", "five"),
        ("predict", "m", "-k", "é"),
        ("predict", "m", "-k", "a\nb"),
        ("predict", "m", "--as-of", "2013-03-08 17:05"),
        ("experiment", "create", "e", "m", "--variant", "old=1"),
        ("spend", "--by", "colour"),
        ("spend", "set-price", "smile", "5"),
        ("spend", "set-price", "request", "5", "--from", "tomorrow"),
    ],
)
def test_a_wrong_argument_is_refused_before_any_call(penstock, arguments):
    with pytest.raises(typer.BadParameter):
        penstock(*arguments)._future.result(timeout=10)


def test_a_caller_that_nobody_knows_is_told_how_to_say_who_it_is(penstock, capsys):
    running = penstock("route", "list")
    running.refuse("RoutingService", "ListRoutes", grpc.StatusCode.UNAUTHENTICATED, "the key is unknown")
    assert running.failed() == 1
    assert "--api-key, or PENSTOCK_API_KEY" in capsys.readouterr().err
