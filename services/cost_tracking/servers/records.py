"""Batches of the record log, from the wire."""

from datetime import UTC, datetime, timedelta

from google.protobuf.text_format import MessageToString

from libs.errors import collecting
from penstock.accesslog.v1 import record_pb2
from services.cost_tracking.domain.intake import MALFORMED, Batch, SetAside
from services.cost_tracking.domain.usage import LARGEST_COUNT, MIRRORS, Hop, Usage
from services.cost_tracking.servers import times

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOPS = {record_pb2.HOP_INGRESS: Hop.INGRESS, record_pb2.HOP_MESH: Hop.MESH, record_pb2.HOP_MIRROR: Hop.MIRROR}


def decode(batch: record_pb2.RecordBatch) -> Batch:
    """Raises Invalid when the batch does not say which lines it holds. A record that cannot be booked is set aside."""
    with collecting() as faults:
        for field in ("proxy", "file"):
            text: str = getattr(batch, field)
            faults.require(
                text and len(text.encode()) <= 1024 and "\0" not in text, f"batch.{field}", "1 to 1024 bytes"
            )
        faults.require(batch.start_offset <= batch.end_offset, "batch.end_offset", "before start_offset")
        faults.require(batch.end_offset <= LARGEST_COUNT, "batch.end_offset", "larger than a file can be")
    usages: list[Usage] = []
    malformed: list[SetAside] = []
    for record in batch.records:
        usage = _usage(record)
        if usage is None or usage.fault:
            malformed.append(SetAside(MALFORMED, MessageToString(record, as_one_line=True)))
        else:
            usages.append(usage)
    return Batch(batch.proxy, batch.file, batch.start_offset, batch.end_offset, tuple(usages), tuple(malformed))


def _usage(record: record_pb2.AccessRecord) -> Usage | None:
    """None when it has no hop or no time."""
    hop = HOPS.get(record.hop)
    if hop is None or not record.HasField("start_time"):
        return None
    try:
        # Timestamp.ToDatetime takes five times as long
        start = EPOCH + timedelta(seconds=record.start_time.seconds, microseconds=record.start_time.nanos // 1000)
    except OverflowError:
        return None
    if not times.storable(start):
        return None
    return Usage(
        request_id=record.request_id,
        hop=hop,
        start_time=start,
        tenant=MIRRORS if hop is Hop.MIRROR else record.tenant,
        principal=record.principal,
        model=record.model,
        version=record.version,
        experiment=record.experiment,
        variant=record.variant,
        degraded=record.degraded,
        grpc_status=record.grpc_status,
        http_status=record.http_status,
        attempts=record.attempts,
        reached_server=record.reached_server,
        server=record.upstream_host,
        upstream_us=record.upstream_us,
        bytes_in=record.bytes_in,
        bytes_out=record.bytes_out,
    )
