"""Timestamps between the wire and the domain: UTC, to the microsecond."""

from datetime import UTC, datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors import Faults


def decode(message: Message, field: str, faults: Faults, path: str = "") -> datetime | None:
    """None when the field is not set, or is no time (then `path`, or the field, is a fault)."""
    if not message.HasField(field):
        return None
    stamp: Timestamp = getattr(message, field)
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        faults.add(path or field, "not a time between the years 1 and 9999")
        return None


def encode(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
