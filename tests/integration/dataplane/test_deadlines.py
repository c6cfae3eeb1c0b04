"""How long a call may take: the caller says, else the route; and the limit of one attempt finds who hangs."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from services.routing.domain.policy import Retries, Route
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane
from tests.polling import eventually


@pytest.fixture
def hanging(data_plane: DataPlane) -> Iterator[DataPlane]:
    """Server a, the only one with version 4, takes calls and never answers."""
    data_plane.stack.suspend("triton-a")
    yield data_plane
    data_plane.stack.resume("triton-a")


def infer(plane: DataPlane, version: str, seconds: float | None) -> tuple[str, str]:
    with plane.channel() as channel:
        call = channel.unary_unary(models.INFER, request_serializer=bytes)
        try:
            _, ended = call.with_call(models.request(version=version).SerializeToString(), timeout=seconds)
        except grpc.RpcError as error:
            ended = error
        headers = dict([*(ended.initial_metadata() or ()), *(ended.trailing_metadata() or ())])
        return ended.code().name, headers.get("x-envoy-attempt-count", "")


def test_the_callers_deadline_holds_over_all_attempts(hanging: DataPlane):
    hanging.apply(hanging.inputs(routes=(Route("m", "4", timeout=3600, retries=Retries(per_try_timeout=0.2)),)))
    assert infer(hanging, "", 0.5)[0] == "DEADLINE_EXCEEDED"


def test_the_routes_limit_is_for_callers_without_a_deadline(hanging: DataPlane):
    route = Route("m", "4", timeout=0.5, retries=Retries(per_try_timeout=3600))
    hanging.apply(hanging.inputs(routes=(route,)))
    assert infer(hanging, "", None)[0] == "DEADLINE_EXCEEDED"


def test_attempts_that_run_out_of_time_are_tried_elsewhere(hanging: DataPlane):
    hanging.apply(hanging.inputs(routes=(Route("m", "1", retries=Retries(per_try_timeout=0.2)),)))
    answers = []

    def tried_twice() -> bool:
        answers.append(infer(hanging, "", 10))
        return answers[-1][1] == "2"

    eventually(tried_twice, message="a call met the hanging server first")  # which may be ejected at the beginning
    assert {code for code, _ in answers} == {"OK"}


def test_when_every_attempt_runs_out_of_time_nobody_is_there(hanging: DataPlane):
    hanging.apply(hanging.inputs(routes=(Route("m", "4", retries=Retries(attempts=2, per_try_timeout=0.2)),)))
    assert infer(hanging, "4", 30) == ("UNAVAILABLE", "3")
