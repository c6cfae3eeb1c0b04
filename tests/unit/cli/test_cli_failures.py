"""Errors reach a person in plain words, with what to do next."""

import grpc
import pytest
import typer


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


def test_nobody_there(penstock, capsys):
    running = penstock("route", "list")
    running.refuse("RoutingService", "ListRoutes", grpc.StatusCode.UNAVAILABLE, "connection refused")
    assert running.failed() == 1
    assert "penstock up" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("route", "update", "m"),
        ("route", "create", "m", "--version", "1", "--balance", "fair"),
        ("model", "register", "m"),
        ("model", "stage", "m", "1", "perfect"),
        ("predict", "m", "-f", "five"),
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
