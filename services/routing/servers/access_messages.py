"""Keys and limits between the wire and the domain."""

from datetime import datetime

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors import Faults
from penstock.routing.v1 import api_key_pb2, rate_limit_pb2
from services.routing.domain.keys import StoredKey
from services.routing.domain.limits import StoredLimit, default_burst
from services.routing.domain.policy import RateLimit, Scope

SCOPES = {
    rate_limit_pb2.RATE_LIMIT_SCOPE_UNSPECIFIED: Scope.TENANT,
    rate_limit_pb2.RATE_LIMIT_SCOPE_TENANT: Scope.TENANT,
    rate_limit_pb2.RATE_LIMIT_SCOPE_UNIT: Scope.UNIT,
}
CHANGEABLE = ("requests_per_second", "burst", "shadow")


def encode_key(stored: StoredKey) -> api_key_pb2.ApiKey:
    """Without the hash, which is nobody's business."""
    return api_key_pb2.ApiKey(
        id=stored.key.id,
        tenant=stored.key.tenant,
        principal=stored.key.principal,
        roles=stored.key.roles,
        description=stored.description,
        create_time=_timestamp(stored.create_time),
        creator=stored.creator,
        revoke_time=None if stored.revoke_time is None else _timestamp(stored.revoke_time),
        revoker=stored.revoker,
    )


def decode_limit(said: rate_limit_pb2.RateLimit, faults: Faults) -> RateLimit:
    """With the defaults in the place of what is not set; whether it is a good limit is not asked here."""
    known = faults.require(said.scope in SCOPES, "rate_limit.scope", "is no known value")
    return RateLimit(
        name=said.name,
        tenant=said.tenant,
        scope=SCOPES[said.scope] if known else Scope.TENANT,
        requests_per_second=said.requests_per_second,
        burst=said.burst or default_burst(said.requests_per_second),
        shadow=said.shadow,
    )


def merge_limit(current: RateLimit, said: rate_limit_pb2.RateLimit, mask: FieldMask, faults: Faults) -> RateLimit:
    """`current` with the masked fields of `said`; an empty mask means every field that can be changed."""
    for path in mask.paths:
        faults.require(path in CHANGEABLE, "update_mask", f"{path!r} is none of {', '.join(CHANGEABLE)}")
    merged = _encode(current)
    for field in set(mask.paths or CHANGEABLE).intersection(CHANGEABLE):
        setattr(merged, field, getattr(said, field))
    return decode_limit(merged, faults)


def encode_limit(stored: StoredLimit) -> rate_limit_pb2.RateLimit:
    encoded = _encode(stored.limit)
    encoded.etag = stored.etag
    encoded.create_time.CopyFrom(_timestamp(stored.create_time))
    encoded.update_time.CopyFrom(_timestamp(stored.update_time))
    return encoded


def _encode(limit: RateLimit) -> rate_limit_pb2.RateLimit:
    scopes = {mine: wire for wire, mine in SCOPES.items() if wire}
    return rate_limit_pb2.RateLimit(
        name=limit.name,
        tenant=limit.tenant,
        scope=scopes[limit.scope],
        requests_per_second=limit.requests_per_second,
        burst=limit.burst,
        shadow=limit.shadow,
    )


def _timestamp(time: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp
