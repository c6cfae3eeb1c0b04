"""Lines of the record log, as they are delivered."""

from collections.abc import Mapping, Sequence

from libs.errors import collecting
from penstock.accesslog.v1.record_pb2 import HOP_INGRESS, HOP_MESH, HOP_MIRROR, AccessRecord, RecordBatch
from services.experimentation.domain.exposure import Served

LONGEST_NAME = 512
LARGEST_OFFSET = (1 << 63) - 1
HOPS: Mapping[int, str] = {HOP_INGRESS: "ingress", HOP_MESH: "mesh", HOP_MIRROR: "mirror"}


def check_batch(batch: RecordBatch) -> None:
    """Raise Invalid with every fault of what names the batch."""
    with collecting() as faults:
        for field, text in (("proxy", batch.proxy), ("file", batch.file)):
            fits = 1 <= len(text.encode()) <= LONGEST_NAME and "\0" not in text
            faults.require(fits, f"batch.{field}", f"must be 1 to {LONGEST_NAME} bytes without NUL")
        forward = batch.start_offset < batch.end_offset <= LARGEST_OFFSET
        faults.require(forward, "batch.end_offset", "must be after start_offset")


def served_of(batch: RecordBatch) -> Sequence[Served]:
    return [_served(record) for record in batch.records]


def _served(record: AccessRecord) -> Served:
    return Served(
        request_id=record.request_id,
        hop=HOPS.get(record.hop, "unknown"),
        start_ns=record.start_time.seconds * 1_000_000_000 + record.start_time.nanos,
        experiment=record.experiment,
        variant=record.variant,
        unit=record.unit,
        grpc_status=record.grpc_status,
        degraded=record.degraded,
        reached_server=record.reached_server,
        mirrored=record.hop == HOP_MIRROR,
    )
