"""Timestamps between the wire and the domain: UTC, to the microsecond."""

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors import Faults

EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


def decode(message: Message, field: str, faults: Faults, path: str = "") -> datetime | None:
    """None when the field is not set, or is no time (then `path`, or the field, is a fault)."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        time = stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        time = None
    if time is None or not storable(time):
        faults.add(path or field, "not a time between the years 1 and 9999")
        return None
    return time


def storable(time: datetime) -> bool:
    """The first and the last moment of all mean infinity to asyncpg, which reads them back without a zone."""
    return EARLIEST < time < LATEST


def encode(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
