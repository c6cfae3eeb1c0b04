"""Bytes of the record log, read: records, and the lines that are none."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from deploy.envoy.record import parse
from penstock.accesslog.v1.record_pb2 import HOP_INGRESS, HOP_MESH, HOP_MIRROR, AccessRecord

HOPS = {"ingress": HOP_INGRESS, "mesh": HOP_MESH, "mirror": HOP_MIRROR}
PATH = "/inference.GRPCInferenceService/ModelInfer"
CANCELLED = 1


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is no record: where it begins in its file, and all of it without its line break."""

    offset: int
    line: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    """The lines of a file's bytes [start, end)."""

    start: int
    end: int
    records: tuple[AccessRecord, ...]
    unreadable: tuple[Unreadable, ...]

    @property
    def first_ns(self) -> int | None:
        """When the first of its requests began, Unix ns."""
        return self.records[0].start_time.ToNanoseconds() if self.records else None


def read(data: bytes, start: int, *, to_the_end: bool) -> Chunk | None:
    """The whole lines of `data`, which begins at the offset `start`; None where there is none.

    `to_the_end` says that what follows the last line break is all that will ever be there, so that it is a line, too.
    """
    end = len(data) if to_the_end else data.rfind(b"\n") + 1
    if not end:
        return None
    records: list[AccessRecord] = []
    unreadable: list[Unreadable] = []
    offset = start
    for line in data[:end].split(b"\n"):
        # Envoy writes a line break before each line, too
        if line:
            try:
                records.append(record_of(line))
            except ValueError:
                unreadable.append(Unreadable(offset, line))
        offset += len(line) + 1
    return Chunk(start, start + end, tuple(records), tuple(unreadable))


def record_of(line: bytes) -> AccessRecord:
    """Raises ValueError for what is no record.

    Bytes that are not UTF-8 become `\\xff` and so on: a text field must be text, and different bytes stay different.
    """
    if b"\0" in line:
        raise ValueError("NUL, which Envoy lets nobody send")
    seen = parse(line.decode(errors="backslashreplace"))
    if seen.hop not in HOPS or not seen.request_id:
        raise ValueError(f"no hop, or no request id: {seen.hop!r} {seen.request_id!r}")
    seconds, nanos = divmod(seen.start_ns, 1_000_000_000)
    return AccessRecord(
        request_id=seen.request_id,
        hop=HOPS[seen.hop],
        start_time=Timestamp(seconds=seconds, nanos=nanos),
        duration_us=seen.duration_us,
        upstream_us=seen.upstream_us,
        tenant=seen.tenant,
        principal=seen.principal,
        model=seen.model,
        version=seen.version,
        variant=seen.variant,
        experiment=seen.experiment,
        unit=seen.unit,
        degraded=seen.degraded,
        # the caller went away before there was a status
        grpc_status=CANCELLED if seen.grpc_status < 0 else seen.grpc_status,
        http_status=seen.http_status,
        attempts=seen.attempts,
        upstream_host=seen.upstream,
        response_flags=seen.flags,
        path=PATH,
        bytes_in=seen.bytes_in,
        bytes_out=seen.bytes_out,
        reached_server=seen.reached_triton,
    )
