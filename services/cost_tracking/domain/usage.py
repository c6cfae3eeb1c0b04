"""Usage: one inference as one hop saw it, and what it is in the books."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

OK = 0
MIRRORS = "@mirror"
"""The account that pays for copies; no tenant can be called so."""
LONGEST_NAME = 256
LONGEST_TIME_US = 10**12
LARGEST_CODE = 2**31 - 1
LARGEST_COUNT = 2**63 - 1


class Hop(StrEnum):
    """The listener that wrote the record."""

    INGRESS = "ingress"
    MESH = "mesh"
    MIRROR = "mirror"


class Outcome(StrEnum):
    """What a record is in the books."""

    BILLED = "billed"
    """A server answered it."""
    FAILED = "failed"
    """It ended in an error, wherever. Not charged, also when a server had begun to work or the caller went away."""
    PASSED = "passed"
    """This hop handed it to a service, such as the slow door: the hop behind has the line that counts."""
    MIRRORED = "mirrored"
    """A copy that a server answered: charged to the account of mirrors."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A record of the log. Its key is (request_id, hop); times are UTC, to the microsecond; the rest as in the log."""

    request_id: str
    hop: Hop
    start_time: datetime
    tenant: str
    principal: str
    model: str
    version: str
    experiment: str
    variant: str
    degraded: str
    grpc_status: int
    http_status: int
    attempts: int
    reached_server: bool
    server: str
    upstream_us: int
    bytes_in: int
    bytes_out: int

    @property
    def key(self) -> tuple[str, str]:
        return (self.request_id, self.hop)

    @property
    def outcome(self) -> Outcome:
        if self.grpc_status == OK and self.reached_server:
            return Outcome.MIRRORED if self.hop is Hop.MIRROR else Outcome.BILLED
        return Outcome.PASSED if self.grpc_status == OK and self.server else Outcome.FAILED

    @property
    def fault(self) -> str:
        """Why it cannot be booked; empty when it can. The bounds keep any one record from stopping the intake."""
        names = (self.request_id, self.tenant, self.model, self.version, self.experiment, self.variant)
        if not self.request_id:
            return "no request id"
        if max(map(len, map(str.encode, names))) > LONGEST_NAME:
            return f"a name longer than {LONGEST_NAME} bytes"
        if "\0" in "".join((*names, self.principal, self.degraded, self.server)):
            return "a NUL in a text"
        if max(self.grpc_status, self.http_status, self.attempts) > LARGEST_CODE:
            return "an impossible code"
        if self.upstream_us > LONGEST_TIME_US or max(self.bytes_in, self.bytes_out) > LARGEST_COUNT:
            return "an impossible time or size"
        return ""
