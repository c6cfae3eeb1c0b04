"""gRPC-Web as a browser sends it: one message, over HTTP/1.1, binary or in base64; the trailers are the last frame."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

from google.protobuf.message import Message

from tests.rest import Answer, Rest

BINARY, TEXT = "application/grpc-web+proto", "application/grpc-web-text+proto"
TRAILERS = 0x80


@dataclass(frozen=True)
class WebAnswer:
    http: Answer
    messages: list[bytes]
    trailers: dict[str, str]
    """Of the last frame, or the headers where there is nothing else."""

    @property
    def status(self) -> int:
        return int(self.trailers["grpc-status"])


def ask(rest: Rest, method: str, message: Message, kind: str = BINARY, **headers: str) -> WebAnswer:
    data = message.SerializeToString()
    body = struct.pack(">BI", 0, len(data)) + data
    if "-text" in kind:
        body = base64.b64encode(body)
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = rest.call("POST", method, body, {"content-type": kind, "accept": kind, "x-grpc-web": "1", **given})
    return _read(answer, text="-text" in kind)


def _read(answer: Answer, *, text: bool) -> WebAnswer:
    # each frame is in base64 by itself, padding and all
    rest, frames = _decoded(answer.body) if text else answer.body, []
    while rest:
        flag, size = struct.unpack(">BI", rest[:5])
        frames.append((flag, rest[5 : 5 + size]))
        rest = rest[5 + size :]
    messages = [content for flag, content in frames if not flag & TRAILERS]
    lines = [line for flag, content in frames if flag & TRAILERS for line in content.decode().split("\r\n") if line]
    trailers = dict(line.split(":", 1) for line in lines) if lines else answer.headers
    return WebAnswer(answer, messages, trailers)


def _decoded(body: bytes) -> bytes:
    pieces, start = [], 0
    while start < len(body):
        padding = body.find(b"=", start)
        end = len(body) if padding < 0 else padding + (2 if body[padding : padding + 2] == b"==" else 1)
        pieces.append(base64.b64decode(body[start:end]))
        start = end
    return b"".join(pieces)
