"""Callers that would fill Envoy's memory: messages that are never finished, and a thousand calls at once."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from pathlib import Path

import grpc
import pytest

from deploy.envoy.record import Record
from tests.integration.dataplane import models
from tests.integration.dataplane.another import another_envoy
from tests.integration.dataplane.http2 import Call
from tests.integration.dataplane.plane import OPTIONS, DataPlane
from tests.polling import eventually
from tests.rest import Rest

OVERLOAD = "OM"
"""Envoy's word for a call that it has ended for want of memory."""
MIB = 1024**2
HEAP = 300 * MIB
UNFINISHED = b"\0" + (60 * MIB).to_bytes(4, "big") + bytes(60 * MIB - 1)


def allocated(admin: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/memory") as answer:
        return int(json.load(answer)["allocated"])


def test_who_holds_most_memory_is_cut_off_and_small_calls_go_on(
    data_plane: DataPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """720 MiB against a heap of 300."""
    monkeypatch.setenv("PENSTOCK_ENVOY_HEAP_BYTES", str(HEAP))
    with contextlib.ExitStack() as held:
        ports = held.enter_context(another_envoy(data_plane, tmp_path))
        channel = held.enter_context(grpc.insecure_channel(f"127.0.0.1:{ports['ingress']}", OPTIONS))
        calls: list[Call] = []
        for _ in range(12):
            call = held.enter_context(Call(f"127.0.0.1:{ports['ingress']}"))
            calls.append(call.data(UNFINISHED))
            assert models.call(channel).code == "OK"
            assert allocated(ports["envoy_admin"]) < HEAP

        def cut_off() -> list[Record]:
            tags = {call.tag for call in calls}
            return [record for record in data_plane.records() if record.client_request_id in tags]

        cut = eventually(lambda: len(found := cut_off()) >= 7 and found)
        assert {record.flags for record in cut} == {OVERLOAD}
        assert not any(record.reached_triton for record in cut)
        for call in calls:
            if call.tag in {record.client_request_id for record in cut}:
                assert call.ended() == b""


def test_without_memory_nobody_comes_in_and_all_are_told(
    data_plane: DataPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PENSTOCK_ENVOY_HEAP_BYTES", str(MIB))  # less than the policy needs
    with another_envoy(data_plane, tmp_path) as ports:
        address = f"127.0.0.1:{ports['ingress']}"
        with grpc.insecure_channel(address, OPTIONS) as channel:
            refused = ("UNAVAILABLE", "envoy overloaded")
            eventually(lambda: (told := models.call(channel)) and (told.code, told.text) == refused)
        rest = Rest(address)
        answer = rest.post("/v1/predictions", {"model_id": "m"})
        assert (answer.status, answer.reason, answer.json["message"]) == (
            503,
            "SERVICE_UNAVAILABLE",
            "envoy overloaded",
        )
        answer = rest.post("/v2/models/m/infer", {})
        assert (answer.status, answer.json) == (503, {"error": "envoy overloaded"})


def test_a_connection_bears_a_thousand_calls_at_once(ingress: grpc.Channel):
    infer = ingress.unary_unary(models.INFER, request_serializer=bytes, response_deserializer=bytes)
    message = models.request().SerializeToString()
    pending = [infer.future(message, timeout=60) for _ in range(1000)]
    assert {call.code() for call in pending} == {grpc.StatusCode.OK}
