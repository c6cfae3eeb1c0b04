"""One call over HTTP/2, frame by frame, as no library would send it.

The headers of an answer are not decoded: a call is found in the records by the id that it gives itself.
"""

from __future__ import annotations

import socket
import struct
import uuid
from types import TracebackType
from typing import Self

from tests.integration.dataplane.models import INFER, TIMEOUT

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE = 4
LARGEST_FRAME = 16384
STREAM = 1


class Call:
    """A ModelInfer on a connection of its own."""

    def __init__(self, address: str, headers: dict[str, str] | None = None, *, end: bool = False) -> None:
        self.tag = str(uuid.uuid4())
        self.answer = b""
        self._ended = False
        self._window = {0: 65535, STREAM: 65535}
        host, _, port = address.partition(":")
        self._connection = socket.create_connection((host, int(port)), timeout=TIMEOUT)
        self._connection.sendall(PREFACE)
        self._send(SETTINGS, 0, 0, b"")
        pseudo = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": INFER}
        given = {"te": "trailers", "content-type": "application/grpc", "x-request-id": self.tag} | (headers or {})
        self._send(HEADERS, END_HEADERS | end, STREAM, _block(pseudo | given))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._connection.close()

    def data(self, content: bytes, *, end: bool = False) -> Call:
        """One frame, or as many as it takes; as much as was allowed to be sent before the call ended."""
        pieces = [content[at : at + LARGEST_FRAME] for at in range(0, len(content), LARGEST_FRAME)] or [b""]
        for n, piece in enumerate(pieces, 1):
            if not self._ended:
                self._data(piece, END_STREAM if end and n == len(pieces) else 0)
        return self

    def trailers(self) -> Call:
        """End the call with them."""
        self._send(HEADERS, END_HEADERS | END_STREAM, STREAM, _block({"x-the-end": "of it"}))
        return self

    def ended(self) -> bytes:
        """The bytes of the answer once there will be no more."""
        while not self._ended:
            self._receive()
        return self.answer

    def _data(self, content: bytes, flags: int) -> None:
        while min(self._window.values()) < len(content) and not self._ended:
            self._receive()
        for which in self._window:
            self._window[which] -= len(content)
        self._send(DATA, flags, STREAM, content)

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        head = len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream)
        self._connection.sendall(head + payload)

    def _receive(self) -> None:
        head = self._exactly(9)
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = self._exactly(int.from_bytes(head[:3], "big"))
        if kind == SETTINGS and not flags & ACK:
            self._send(SETTINGS, ACK, 0, b"")
            for name, value in struct.iter_unpack(">HI", payload):
                if name == INITIAL_WINDOW_SIZE:
                    self._window[STREAM] += value - 65535
        elif kind == PING and not flags & ACK:
            self._send(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            self._window[stream] += int.from_bytes(payload, "big")
        elif kind == DATA:
            self.answer += payload
            for which in (0, STREAM) if payload else ():
                self._send(WINDOW_UPDATE, 0, which, len(payload).to_bytes(4, "big"))
        elif kind == GOAWAY:
            raise ConnectionAbortedError(payload)
        if stream == STREAM and (kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM)):
            self._ended = True

    def _exactly(self, size: int) -> bytes:
        content = b""
        while len(content) < size:
            piece = self._connection.recv(size - len(content))
            if not piece:
                raise ConnectionAbortedError("the connection was closed before the call had ended")
            content += piece
        return content


def _block(headers: dict[str, str]) -> bytes:
    """HPACK without its tables: each name and value (under 127 bytes) as it is."""
    return b"".join(
        b"\0" + b"".join(bytes([len(text)]) + text for text in (name.encode(), value.encode()))
        for name, value in headers.items()
    )
