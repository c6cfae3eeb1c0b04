"""Models whose every answer says which version gave it, and ways to call them."""

from __future__ import annotations

import contextlib
import shutil
import socket
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from deploy.local.stack import Stack

MODEL = """
import os, time
import numpy as np, triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        version = {version}
        if version == 3:
            return [pb.InferenceResponse([], error=pb.TritonError("version 3 always fails")) for _ in requests]
        while version == 5 and os.path.exists(__file__ + ".hang"):
            time.sleep(0.01)
        xs = [pb.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        return [pb.InferenceResponse([pb.Tensor("Y", np.full_like(x, version))]) for x in xs]
"""
CONFIG = """
name: "m" backend: "python" max_batch_size: 4194304
version_policy { all {} }
input [{ name: "X" data_type: TYPE_FP32 dims: [4] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [4] }]
dynamic_batching {}
instance_group [{ kind: KIND_CPU count: 1 }]
"""
INFER = "/inference.GRPCInferenceService/ModelInfer"
TIMEOUT = 10
VERSIONS = {"a": ("1", "2", "3", "4", "5"), "b": ("1", "2", "3")}


def load_everywhere(stack: Stack) -> None:
    """Version 3 fails every call; versions 4 and 5 are on server a only, and 5 is silent while it is `hanging`.

    Model n has version 1 alone.
    """
    for server, versions in VERSIONS.items():
        load(stack, server, versions)


def load_where_missing(stack: Stack) -> None:
    """A Triton that was stopped may end when it goes on, and then it comes back with nothing: 2.51 does at times."""
    for server, versions in VERSIONS.items():
        stack.wait_ready(f"triton-{server}")
        with triton.InferenceServerClient(stack.address(f"triton_{server}_grpc")) as client:
            missing = not client.is_model_ready("m", versions[-1])
        if missing:
            load(stack, server, versions)


def load(stack: Stack, server: str, versions: tuple[str, ...]) -> None:
    repository = stack.repository(server)
    for version in versions:
        folder = repository / "m" / version
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.py").write_text(MODEL.replace("{version}", version))
    (repository / "m" / "config.pbtxt").write_text(CONFIG)
    other = repository / "n"
    if not other.exists():
        shutil.copytree(repository / "m" / "1", other / "1")
        (other / "config.pbtxt").write_text(CONFIG.replace('"m"', '"n"'))
    with triton.InferenceServerClient(stack.address(f"triton_{server}_grpc")) as client:
        client.load_model("m")
        client.load_model("n")


@contextlib.contextmanager
def hanging(stack: Stack) -> Generator[None]:
    """Version 5 keeps what it is asked, for the length of the block."""
    _sign(stack).touch()
    try:
        yield
    finally:
        go_on(stack)


def go_on(stack: Stack) -> None:
    """It answers what it has kept."""
    _sign(stack).unlink(missing_ok=True)


def _sign(stack: Stack) -> Path:
    return stack.repository("a") / "m" / "5" / "model.py.hang"


SLOW = """
import time
import triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        time.sleep({wait})
        xs = [pb.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        return [pb.InferenceResponse([pb.Tensor("Y", x)]) for x in xs]
"""


def load_slow_on_b(stack: Stack) -> None:
    """Model `slow-on-b`, version 1, answers at once on server a and after 50 ms on b."""
    for server, wait in (("a", 0.0), ("b", 0.05)):
        folder = stack.repository(server) / "slow-on-b" / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.py").write_text(SLOW.format(wait=wait))
        (folder.parent / "config.pbtxt").write_text(CONFIG.replace('"m"', '"slow-on-b"'))
        with triton.InferenceServerClient(stack.address(f"triton_{server}_grpc")) as client:
            client.load_model("slow-on-b")


def request(model: str = "m", version: str = "", rows: int = 1) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model, model_version=version)
    tensor = message.inputs.add(name="X", datatype="FP32")
    tensor.shape.extend([rows, 4])
    message.raw_input_contents.append(np.ones((rows, 4), np.float32).tobytes())
    return message


@dataclass(frozen=True)
class Answer:
    """What came back, OK or not. `headers` holds trailers too."""

    code: str
    text: str
    version: str = ""
    headers: dict[str, str] = field(default_factory=dict)


TAG = ("x-request-id", "a test's")
"""With an id of its own a caller is told on each answer the one that the record has."""


def call(
    channel: grpc.Channel,
    message: pb.ModelInferRequest | bytes | None = None,
    metadata: Sequence[tuple[str, str | bytes]] = (),
    **more: Any,
) -> Answer:
    """ModelInfer; the message may be bytes that no library would write."""
    tagged = metadata if TAG[0] in dict(metadata) else [TAG, *metadata]
    sent = message if isinstance(message, bytes) else (message or request()).SerializeToString()
    infer = channel.unary_unary(INFER, request_serializer=bytes, response_deserializer=pb.ModelInferResponse.FromString)
    answer, ended = None, None
    try:
        answer, ended = infer.with_call(sent, timeout=TIMEOUT, metadata=tagged, **more)
    except grpc.RpcError as error:
        ended = error
    headers = dict([*(ended.initial_metadata() or ()), *(ended.trailing_metadata() or ())])
    return Answer(ended.code().name, ended.details() or "", answer.model_version if answer else "", headers)


def call_over_http1(address: str, key: bytes) -> dict[str, str]:
    """The headers of an answer to a call whose routing key no gRPC library would send."""
    message = request().SerializeToString()
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    head = [
        f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-type: application/grpc\r\nte: trailers\r\nconnection: close\r\n",
        f"{TAG[0]}: {TAG[1]}\r\n",
        f"content-length: {len(frame)}\r\nx-penstock-routing-key: ",
    ]
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=TIMEOUT) as connection:
        connection.sendall("".join(head).encode() + key + b"\r\n\r\n" + frame)
        said = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")[0].decode()
    return dict(line.split(": ", 1) for line in said.split("\r\n")[1:])


def by_unit(channel: grpc.Channel, units: list[str]) -> dict[str, Answer]:
    """One call for each routing key, many at once."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    message, answers = request(), {}
    for first in range(0, len(units), 64):
        window = units[first : first + 64]
        pending = {
            unit: stub.ModelInfer.future(message, timeout=TIMEOUT, metadata=[TAG, ("x-penstock-routing-key", unit)])
            for unit in window
        }
        for unit, future in pending.items():
            headers = dict(future.initial_metadata())
            answers[unit] = Answer(future.code().name, future.details() or "", future.result().model_version, headers)
    return answers


def text_field(number: int, text: bytes) -> bytes:
    """One field of a protobuf message, text under 128 bytes."""
    return bytes([number << 3 | 2, len(text)]) + text
