"""A call's context by which no more leaves than may."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

import grpc
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from libs.bounds import ENTRY_BYTES, MESSAGE_BYTES, TRAILER_BYTES, bounded, cut

DETAILS = "grpc-status-details-bin"


class BoundedContext:
    """gRPC's context; a status that a servicer sends by itself is bounded as those of its errors are."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> None:
        await self._context.abort(code, cut(details, MESSAGE_BYTES), tuple(_first(trailing_metadata)))

    async def abort_with_status(self, status: grpc.Status) -> None:
        for key, value in cast(Any, status).trailing_metadata or ():
            if key == DETAILS:
                status = rpc_status.to_status(cast(Any, bounded(Status.FromString(value))))
        await self._context.abort_with_status(status)

    def set_details(self, details: str) -> None:
        self._context.set_details(cut(details, MESSAGE_BYTES))


def _first(metadata: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Each entry for which there is still room, whole: half a value would say something else."""
    room = TRAILER_BYTES
    for key, value in metadata or ():
        size = len(key) + len(value.encode() if isinstance(value, str) else value) + ENTRY_BYTES
        if size <= room:
            room -= size
            yield key, value
