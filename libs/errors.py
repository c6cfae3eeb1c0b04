"""Every way in which a call can fail that a caller can do something about.

    PenstockError
    ├── NotFound        NOT_FOUND            what was named does not exist
    ├── AlreadyExists   ALREADY_EXISTS       what was to be made exists, or the request id was used for something else
    ├── Invalid         INVALID_ARGUMENT     the request is wrong in itself; `violations` lists every fault
    ├── Precondition    FAILED_PRECONDITION  the request is right, the state of things is not
    ├── Conflict        ABORTED              somebody else wrote first: read again, then write
    ├── Denied          PERMISSION_DENIED    the caller may not; asking again will not help
    ├── Exhausted       RESOURCE_EXHAUSTED   a limit; waiting may help
    ├── TooLate         DEADLINE_EXCEEDED    it took longer than it may and was given up
    └── Unavailable     UNAVAILABLE          something that is needed cannot be reached; waiting may help

`reason` is a value of penstock.errors.v1.ErrorReason without its prefix. Raise these from any layer;
libs.interceptors turns them into a gRPC status with google.rpc.ErrorInfo.
"""

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """One fault: `field` is the path in the request (`route.fallback_versions[1]`)."""

    field: str
    description: str


class PenstockError(Exception):
    """Raise one of the nine below, never this."""

    def __init__(
        self,
        reason: str,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        violations: Iterable[Violation] = (),
        **metadata: str,
    ) -> None:
        """`violations` are the fields that name what the state of things does not allow; Invalid always has some."""
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = metadata
        self.retry_after_seconds = retry_after_seconds
        self.violations = tuple(violations)


class NotFound(PenstockError): ...


class AlreadyExists(PenstockError): ...


class Precondition(PenstockError): ...


class Conflict(PenstockError): ...


class Denied(PenstockError): ...


class Exhausted(PenstockError): ...


class TooLate(PenstockError): ...


class Unavailable(PenstockError): ...


PASSING = (Conflict, TooLate, Unavailable)
"""What a store may say of a read or write and not say again a moment later: work that goes on for ever outlives it."""


class Invalid(PenstockError):
    def __init__(self, violations: Iterable[Violation], *, reason: str = "INVALID_REQUEST") -> None:
        found = tuple(violations)
        message = "; ".join(f"{v.field}: {v.description}" if v.field else v.description for v in found)
        super().__init__(reason, message, violations=found)


class Faults:
    """Collects violations so that a request's faults are reported all at once."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def add(self, field: str, description: str) -> None:
        self._violations.append(Violation(field, description))

    def require(self, condition: object, field: str, description: str) -> bool:
        """Add a violation unless the condition holds; says whether it held."""
        if not condition:
            self.add(field, description)
        return bool(condition)

    def check(self) -> None:
        """Raise Invalid if anything was added."""
        if self._violations:
            raise Invalid(self._violations)

    def __bool__(self) -> bool:
        return bool(self._violations)


@contextmanager
def collecting() -> Generator[Faults]:
    """`with collecting() as faults: faults.require(…)` raises Invalid at the end of the block if anything was added."""
    faults = Faults()
    yield faults
    faults.check()
