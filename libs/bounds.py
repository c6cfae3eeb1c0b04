"""How much of a status leaves: gRPC sends it as headers, and a peer may drop a whole connection over too many bytes.

Envoy does at 60 KiB, with everybody's calls; gRPC's own clients refuse from 8 KiB on.
"""

from collections.abc import Mapping
from urllib.parse import quote

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

MESSAGE_BYTES = 1024
FIELD_BYTES = 128
DESCRIPTION_BYTES = 256
METADATA_BYTES = 256
VIOLATIONS = 20
STATUS_BYTES = 7 * 1024
"""Of headers; the rest of 8 KiB is for other trailers."""
TRAILER_BYTES = 1024
"""Of what else a call that is aborted may send."""
ENTRY_BYTES = 32
"""What HTTP/2 adds to the length of a header when it counts."""
ELLIPSIS = "…"


def cut(text: str, most: int) -> str:
    """The text, or its beginning and an ellipsis: at most `most` bytes of UTF-8."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return data.decode()
    return data[: most - len(ELLIPSIS.encode())].decode("utf-8", "ignore") + ELLIPSIS


def info(reason: str, domain: str, metadata: Mapping[str, str]) -> ErrorInfo:
    kept = {cut(key, FIELD_BYTES): cut(value, METADATA_BYTES) for key, value in metadata.items()}
    return ErrorInfo(reason=cut(reason, FIELD_BYTES), domain=cut(domain, FIELD_BYTES), metadata=kept)


def violation(field: str, description: str) -> BadRequest.FieldViolation:
    return BadRequest.FieldViolation(field=cut(field, FIELD_BYTES), description=cut(description, DESCRIPTION_BYTES))


def bounded(status: Status) -> Status:
    """The same with every text cut, and as many violations as there is room for."""
    for most in range(VIOLATIONS, 0, -1):
        details = [_detail(detail, most) for detail in status.details]
        made = Status(code=status.code, message=cut(status.message, MESSAGE_BYTES), details=details)
        if _on_the_wire(made) <= STATUS_BYTES:
            return made
    return Status(code=status.code, message=cut(status.message, MESSAGE_BYTES))


def packed(message: Message) -> Any:
    made = Any()
    made.Pack(message)
    return made


def _detail(detail: Any, most: int) -> Any:
    said, bad = ErrorInfo(), BadRequest()
    if detail.Unpack(said):
        return packed(info(said.reason, said.domain, said.metadata))
    if detail.Unpack(bad):
        return packed(BadRequest(field_violations=_first(bad, most)))
    return detail


def _first(bad: BadRequest, most: int) -> list[BadRequest.FieldViolation]:
    all_of_them = [violation(v.field, v.description) for v in bad.field_violations]
    if len(all_of_them) <= most:
        return all_of_them
    return [*all_of_them[: most - 1], violation("", f"and {len(all_of_them) - most + 1} more")]


def _on_the_wire(status: Status) -> int:
    """The message goes percent-encoded, and once more in the status, which goes in base64."""
    return len(quote(status.message)) + status.ByteSize() * 4 // 3
