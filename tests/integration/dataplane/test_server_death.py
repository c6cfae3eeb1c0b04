"""A server dies or hangs under 32 callers that never retry."""

from __future__ import annotations

import time

from tests.integration.dataplane import models
from tests.integration.dataplane.load import under_load
from tests.integration.dataplane.plane import DataPlane
from tests.polling import eventually


def last_served(plane: DataPlane, upstream: str) -> float:
    """When the last call began that this server answered."""
    return max(
        (r.start_ns / 1e9 for r in plane.records() if r.upstream == upstream and r.grpc_status == 0), default=0.0
    )


def address(plane: DataPlane, server: str) -> str:
    return plane.stack.address(f"triton_{server}_grpc")


def test_a_killed_server_fails_no_call_and_neither_does_its_empty_return(data_plane: DataPlane):
    a = address(data_plane, "a")
    before = data_plane.stack.process("triton-a")
    with under_load(data_plane) as load:
        load.wait_for(500)
        data_plane.stack.kill("triton-a")
        load.wait_for(500)
        data_plane.stack.wait_ready("triton-a", unless=before)  # it is back, without a model
        load.wait_for(2000)
        models.load(data_plane.stack, "a", ("1", "2", "3", "4"))
        loaded = time.time()
        eventually(lambda: last_served(data_plane, a) > loaded, within=10, message="no traffic came back")
    assert load.codes() == {"OK": len(load.calls)}


def test_a_hanging_server_is_left_within_5_seconds_and_taken_back_within_10(data_plane: DataPlane):
    a, before = address(data_plane, "a"), data_plane.stack.process("triton-a")

    def served_again() -> bool:
        if data_plane.stack.process("triton-a") != before:
            models.load_where_missing(data_plane.stack)
        return last_served(data_plane, a) > back

    with under_load(data_plane) as load:
        load.wait_for(500)
        eventually(lambda: last_served(data_plane, a) > 0)
        data_plane.stack.suspend("triton-a")
        stopped = time.time()
        try:
            # calls in flight wait for the limit of one attempt, then all go to the other server
            eventually(lambda: sum(started > stopped + 5 for started, _, _ in load.calls) > 500, within=30)
        finally:
            data_plane.stack.resume("triton-a")
        back = time.time()
        eventually(served_again, within=10, message="no traffic came back")
    failed = [call for call in load.calls if call[1] != "OK"]
    assert len(failed) <= 32, load.codes()
