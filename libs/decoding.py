"""Bytes that are no message of the method's type are the caller's fault.

gRPC alone would say UNKNOWN, and the name of a class of ours.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import DecodeError

from libs.errors import Invalid, Violation

Deserializer = Callable[[bytes], Any]


class _Malformed:
    """Stands for the message until somebody can answer."""


def tolerant(deserializer: Deserializer | None) -> Deserializer | None:
    """A deserializer that never fails: what it could not read, `decoded` refuses."""
    if deserializer is None:
        return None

    def read(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError:
            return _Malformed()

    return read


def decoded(request: Any) -> Any:
    """The request as it is. Raises Invalid when it was none."""
    if isinstance(request, _Malformed):
        raise Invalid([Violation("", "not a message of the type that this method takes")])
    return request


async def each_decoded(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """The requests of a stream. Raises Invalid at the first that was none."""
    async for request in requests:
        yield decoded(request)
