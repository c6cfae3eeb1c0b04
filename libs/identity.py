"""Who calls: read from the trusted headers at the door of a service, carried on to the services that it calls."""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

TENANT = "x-penstock-tenant"
PRINCIPAL = "x-penstock-principal"
ROLES = "x-penstock-roles"
REQUEST_ID = "x-request-id"
PRIORITY = "x-penstock-priority"


@dataclass(frozen=True)
class Caller:
    """With authentication off, the edge says `local` and no roles, and a call that came past it says nothing: both are
    the local administrator."""

    tenant: str = "local"
    principal: str = "local"
    roles: frozenset[str] = frozenset({"admin"})
    request_id: str = ""
    priority: str = ""
    """What the call asks for: `high` is heard where the roles allow it."""

    def headers(self) -> tuple[tuple[str, str], ...]:
        """As metadata for the next hop."""
        pairs = (
            (TENANT, self.tenant),
            (PRINCIPAL, self.principal),
            (ROLES, ",".join(sorted(self.roles))),
            (REQUEST_ID, self.request_id),
            (PRIORITY, self.priority),
        )
        # no role is said too: who does not say is the administrator
        return tuple((name, value) for name, value in pairs if value or name == ROLES)


_current: ContextVar[Caller | None] = ContextVar("caller", default=None)


def caller() -> Caller:
    """Of the call that is being answered; the local caller outside every call."""
    return _current.get() or Caller()


def enter(metadata: Mapping[str, str]) -> None:
    """Set the caller for the rest of this call."""
    anonymous = Caller()
    roles = metadata.get(ROLES)
    _current.set(
        Caller(
            tenant=metadata.get(TENANT) or anonymous.tenant,
            principal=metadata.get(PRINCIPAL) or anonymous.principal,
            roles=anonymous.roles if roles is None else frozenset(filter(None, map(str.strip, roles.split(",")))),
            request_id=metadata.get(REQUEST_ID, ""),
            priority=metadata.get(PRIORITY, ""),
        )
    )
