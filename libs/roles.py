"""Who may call what: the roles that stand beside an RPC in its proto, compared with those of whoever calls."""

from functools import cache

from google.protobuf import descriptor_pool

from libs.errors import Denied
from libs.identity import caller
from penstock.access.v1.access_pb2 import ROLE_ANY, ROLE_UNSPECIFIED, Role, allow

OURS = "penstock."
PREFIX = "ROLE_"
ROLES = tuple(
    name.removeprefix(PREFIX).lower() for name, number in Role.items() if number not in (ROLE_UNSPECIFIED, ROLE_ANY)
)
"""As they are written in `x-penstock-roles`."""
ADMIN = "admin"
INCLUDED = {"caller": frozenset({"engineer"})}
"""Roles that may do what another may, besides the administrator's."""


def require_role(method: str) -> None:
    """Raises Denied unless the caller has a role that may call `/package.Service/Method`."""
    allowed = allowed_roles(method)
    if allowed is not None and caller().roles.isdisjoint(allowed):
        wanted = [role for role in ROLES if role in allowed]
        message = f"{method.rpartition('/')[2]} needs a key with the role {' or '.join(wanted)}"
        raise Denied("ROLE_REQUIRED", message, method=method, roles=",".join(wanted))


@cache
def allowed_roles(method: str) -> frozenset[str] | None:
    """Who may call; None when that is not ours to say, as for health and reflection. An RPC of ours that says nothing
    is the administrator's. Only methods that are served may be asked about: each is remembered."""
    name = method.strip("/").replace("/", ".")
    if not name.startswith(OURS):
        return None
    said = descriptor_pool.Default().FindMethodByName(name).GetOptions().Extensions[allow]
    if ROLE_ANY in said:
        return frozenset(ROLES)
    named = {Role.Name(role).removeprefix(PREFIX).lower() for role in said}
    return frozenset({ADMIN}.union(named, *(INCLUDED.get(role, ()) for role in named)))
