"""However the bytes of a call arrive and end, it is read whole, clearly refused, or left to the slow door."""

from __future__ import annotations

import socket

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb

from deploy.envoy.record import Record
from services.routing.domain.policy import ModelVersion, Route
from tests.integration.dataplane import models
from tests.integration.dataplane.http2 import Call
from tests.integration.dataplane.plane import DataPlane
from tests.polling import eventually

OK, INVALID_ARGUMENT, UNIMPLEMENTED = 0, 3, 12


def frame(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


SMALL = frame(models.request().SerializeToString())
LARGE = frame(
    models.request(rows=65536).SerializeToString()
)  # 1 MiB: in Envoy more slices than lie on the filter's stack


def record_of(plane: DataPlane, call: Call, hop: str = "ingress") -> Record:
    def found() -> Record | None:
        # the mesh trusts a caller's id, the edge only notes it
        ids = ((r, r.request_id if hop == "mesh" else r.client_request_id) for r in plane.records())
        return next((r for r, name in ids if (r.hop, name) == (hop, call.tag)), None)

    record = eventually(found)
    assert record is not None
    return record


def version_of(answer: bytes) -> str:
    return pb.ModelInferResponse.FromString(answer[5:]).model_version


@pytest.mark.parametrize("trailers", [False, True], ids=["END_STREAM", "trailers"])
@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "1 MiB"])
@pytest.mark.parametrize("pieces", [0, 1, 30], ids=["at once", "in two", "in many"])
def test_the_message_is_put_together(data_plane: DataPlane, content: bytes, pieces: int, trailers: bool):
    with Call(data_plane.stack.address("ingress")) as call:
        for at in range(pieces):
            call.data(content[at : at + 1])
        call.data(content[pieces:], end=not trailers)
        if trailers:
            call.trailers()
        assert version_of(call.ended()) == "1"
    record = record_of(data_plane, call)
    assert (record.grpc_status, record.model, record.bytes_in) == (OK, "m", len(content))


def test_empty_pieces_say_nothing(data_plane: DataPlane):
    with Call(data_plane.stack.address("ingress")) as call:
        call.data(b"").data(SMALL[:3]).data(b"").data(SMALL[3:]).data(b"").data(b"", end=True)
        assert version_of(call.ended()) == "1"


@pytest.mark.parametrize("trailers", [False, True], ids=["END_STREAM", "trailers"])
def test_each_attempt_has_its_own_version_in_a_large_message(data_plane: DataPlane, trailers: bool):
    data_plane.apply(data_plane.inputs(routes=(Route("m", "3", fallbacks=(ModelVersion("m", "2"),)),)))
    with Call(data_plane.stack.address("ingress")) as call:
        call.data(LARGE, end=not trailers)
        if trailers:
            call.trailers()
        assert version_of(call.ended()) == "2"
    record = record_of(data_plane, call)
    assert (record.version, record.degraded) == ("2", "fallback-model")


def test_a_length_that_was_given_does_not_hinder_the_message_from_growing(data_plane: DataPlane):
    with Call(data_plane.stack.address("ingress"), {"content-length": str(len(SMALL))}) as call:
        assert version_of(call.data(SMALL, end=True).ended()) == "1"


@pytest.mark.parametrize("trailers", [False, True], ids=["END_STREAM", "trailers"])
@pytest.mark.parametrize("content", [SMALL[:-1], SMALL[:5], SMALL[:4], SMALL[:1], b"\x01" + SMALL[1:-1], LARGE[:-1]])
def test_less_than_the_frame_announces_is_refused(data_plane: DataPlane, content: bytes, trailers: bool):
    with Call(data_plane.stack.address("ingress")) as call:
        call.data(content, end=not trailers)
        if trailers:
            call.trailers()
        assert call.ended() == b""
    record = record_of(data_plane, call)
    assert (record.grpc_status, record.model, record.reached_triton) == (INVALID_ARGUMENT, "", False)


def test_a_caller_is_told_what_is_missing(data_plane: DataPlane):
    headers = over_http1(data_plane.stack.address("ingress"), SMALL[:-1])
    assert (headers["grpc-status"], headers["grpc-message"]) == ("3", "the message is shorter than its frame says")


@pytest.mark.parametrize(
    "content", [b"", b"\x01" + SMALL[1:], SMALL + SMALL, SMALL + b"x"], ids=["empty", "compressed", "two", "more"]
)
@pytest.mark.parametrize("trailers", [False, True], ids=["END_STREAM", "trailers"])
def test_what_only_a_decoder_can_judge_goes_to_the_slow_door(data_plane: DataPlane, content: bytes, trailers: bool):
    with Call(data_plane.stack.address("ingress")) as call:
        if content or not trailers:
            call.data(content, end=not trailers)
        if trailers:
            call.trailers()
        call.ended()
    record = record_of(data_plane, call)
    # nobody need be behind the slow door: nothing but the way to it is asked for
    assert (record.route, record.reached_triton) == ("slow-door", False)


def test_a_call_without_a_body_goes_to_the_slow_door(data_plane: DataPlane):
    with Call(data_plane.stack.address("ingress"), end=True) as call:
        call.ended()
    assert record_of(data_plane, call).route == "slow-door"


@pytest.mark.parametrize("end", ["headers", "data", "trailers"])
def test_the_mesh_refuses_what_it_cannot_read(data_plane: DataPlane, end: str):
    with Call(data_plane.stack.address("mesh"), end=end == "headers") as call:
        if end == "data":
            call.data(b"\x01" + SMALL[1:], end=True)
        elif end == "trailers":
            call.data(SMALL + SMALL).trailers()
        assert call.ended() == b""
    record = record_of(data_plane, call, "mesh")
    assert (record.grpc_status, record.reached_triton) == (UNIMPLEMENTED, False)


def test_compressed_messages_are_refused_on_the_mesh(data_plane: DataPlane):
    message = models.request()
    message.id = "x" * 5000
    with data_plane.channel("mesh") as channel:
        answer = models.call(channel, message, compression=grpc.Compression.Gzip)
    assert (answer.code, answer.text) == ("UNIMPLEMENTED", "the mesh takes one uncompressed ModelInferRequest")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/grpc-webby", "application/grpc-web+json", "application/grp", ""]
)
def test_other_content_types_are_refused_and_their_keys_are_not_recorded(data_plane: DataPlane, kind: str):
    address = data_plane.stack.address("ingress")
    headers = over_http1(address, SMALL, {"content-type": kind, "x-request-id": kind or "none"})
    assert headers["status"] == "415"
    headers = over_http1(address, SMALL, {"content-type": kind, "x-penstock-routing-key": "a\tb"})
    assert headers["status"] == "400"
    record = data_plane.record(headers["x-request-id"])
    assert (record.unit, record.client_request_id, record.reached_triton) == ("", "", False)


def test_more_of_a_message_that_was_refused_harms_nobody(data_plane: DataPlane, ingress: grpc.Channel):
    refused = {"x-penstock-routing-key": "a\tb"}
    with Call(data_plane.stack.address("ingress"), refused) as call:
        call.ended()
        call.data(SMALL).data(SMALL, end=True)
    with Call(data_plane.stack.address("ingress"), refused) as call:
        assert call.data(LARGE[:5000]).trailers().ended() == b""
    assert models.call(ingress).code == "OK"


def test_callers_that_leave_harm_nobody(data_plane: DataPlane, ingress: grpc.Channel):
    for content in (b"", SMALL[:3], SMALL[:-1], LARGE[:100_000]):
        with Call(data_plane.stack.address("ingress")) as call:
            call.data(content)
    assert models.call(ingress).code == "OK"


def over_http1(address: str, content: bytes, more: dict[str, str] | None = None) -> dict[str, str]:
    """The headers of the answer, and its `status`."""
    headers = {"host": "x", "te": "trailers", "connection": "close", "content-length": str(len(content))}
    headers |= {"content-type": "application/grpc"} | (more or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=models.TIMEOUT) as connection:
        connection.sendall(f"POST {models.INFER} HTTP/1.1\r\n{head}\r\n".encode() + content)
        said = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")[0].decode()
    first, *lines = said.split("\r\n")
    return {"status": first.split(" ")[1]} | dict(line.split(": ", 1) for line in lines)
