"""API keys as they are made and kept: whoever has the key is its principal, and only its hash stays here."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from libs.errors import Faults
from services.routing.domain.policy import ApiKey

KEY_ID = re.compile(r"[a-z2-7]{12}")
KEY = re.compile(r"penstock_([a-z2-7]{12})_[A-Za-z0-9_-]{32}")
TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")
PRINCIPAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@:/+-]{0,126}")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
ADMIN = "admin"
ROLES = (ADMIN, "approver", "billing", "caller", "engineer", "urgent")
LONGEST_DESCRIPTION = 1024
ID_BYTES = 8
ID_CHARACTERS = 12
SECRET_BYTES = 24  # with what is before them in a key they fit into one block of SHA-256


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that nobody has yet. `text` is the key: it goes to its holder and nowhere else, no log included."""

    id: str
    sha256: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is known of a key; `revoke_time` is None as long as it is good."""

    key: ApiKey
    description: str
    creator: str
    create_time: datetime
    revoker: str = ""
    revoke_time: datetime | None = None


class KeyStore(Protocol):
    """Keys by id. Every method may raise Unavailable."""

    async def create(self, stored: StoredKey) -> None:
        """Of an id that no key has."""
        ...

    async def create_first(self, stored: StoredKey, keep: Callable[[], None]) -> bool:
        """Unless there ever was a key: store this one, if `keep`, which is called before, raises nothing."""
        ...

    async def get(self, key_id: str) -> StoredKey:
        """Revoked or not. Raises NotFound API_KEY_NOT_FOUND."""
        ...

    async def list(self, tenant: str, after: str, most: int) -> Sequence[StoredKey]:
        """By id, those after `after`, revoked ones too; of every tenant if none is named."""
        ...

    async def revoke(self, key_id: str, revoker: str, now: datetime) -> StoredKey:
        """What is revoked stays as it is. Raises NotFound API_KEY_NOT_FOUND, Precondition LAST_ADMIN_KEY."""
        ...

    def watch(self) -> AsyncIterator[tuple[ApiKey, ...]]:
        """All keys that are good, then all again after each write, whichever replica made it. Writes are coalesced."""
        ...


def make_key(random: Callable[[int], bytes]) -> MadeKey:
    """`penstock_<id>_<secret>`, of as many unpredictable bytes as `random` is asked for."""
    key_id = base64.b32encode(random(ID_BYTES)).decode().lower()[:ID_CHARACTERS]
    secret = base64.urlsafe_b64encode(random(SECRET_BYTES)).decode().rstrip("=")
    text = f"penstock_{key_id}_{secret}"
    return MadeKey(key_id, key_hash(text), text)


def key_hash(text: str) -> str:
    """By which a key is known. One round will do: nobody can guess 24 random bytes."""
    return hashlib.sha256(text.encode()).hexdigest()


def check_key_id(key_id: str, field: str, faults: Faults) -> None:
    if KEY.fullmatch(key_id):
        faults.add(field, "is a whole key, which nobody but its holder should have: give only its id, the middle part")
    else:
        faults.require(KEY_ID.fullmatch(key_id), field, "must be 12 characters of [a-z2-7]")


def check_tenant(tenant: str, field: str, faults: Faults) -> None:
    rule = "must be 1 to 127 bytes of [A-Za-z0-9_.-] and start with a letter or digit"
    faults.require(TENANT.fullmatch(tenant), field, rule)


def check_holder(tenant: str, principal: str, roles: Sequence[str], description: str, faults: Faults) -> None:
    """Add every fault of who a key is for; fields are those of a request's `api_key`."""
    check_tenant(tenant, "api_key.tenant", faults)
    rule = "must be 1 to 127 bytes of [A-Za-z0-9_.@:/+-] and start with a letter or digit"
    faults.require(PRINCIPAL.fullmatch(principal), "api_key.principal", rule)
    faults.require(roles, "api_key.roles", f"at least one is required, of {', '.join(ROLES)}")
    if len(roles) > len(ROLES):
        faults.add("api_key.roles", f"{len(roles)} are given; there are {len(ROLES)}")
    for index, role in enumerate(roles[: len(ROLES)]):
        at = f"api_key.roles[{index}]"
        faults.require(role in ROLES, at, f"is none of {', '.join(ROLES)}")
        faults.require(role not in roles[:index], at, "stands in the list before")
    too_long = f"is longer than {LONGEST_DESCRIPTION} bytes"
    faults.require(len(description.encode()) <= LONGEST_DESCRIPTION, "api_key.description", too_long)
    faults.require(not CONTROL.search(description), "api_key.description", "has control characters")
