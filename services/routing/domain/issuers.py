"""Issuers of tokens whose callers come in without a key: what is allowed in one."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from libs.errors import Faults
from services.routing.domain.keys import TENANT
from services.routing.domain.policy import ANY_TENANT, Issuer

NAME = re.compile(r"[!-~]{1,256}")
CLAIM = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
LIST, WORDS = "list", "words"
KNOWN_FIELDS = frozenset({"issuer", "audiences", "jwks", "tenants", "claims", "roles_are"})
PUBLIC_KEYS: Mapping[str, tuple[str, ...]] = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""By type, what a key must have; others, like `oct`, hold a secret, which Envoy would show to whoever asks it."""


def issuer_of(content: Any, keys: Any, at: str, faults: Faults) -> Issuer:
    """One issuer as it is written; `keys` is its key set, read already. Adds every fault."""
    fields = _mapping(content, at, faults)
    unknown = sorted(map(str, fields.keys() - KNOWN_FIELDS))
    faults.require(not unknown, at, f"has {', '.join(unknown)}; there are {', '.join(sorted(KNOWN_FIELDS))}")
    claims = _mapping(fields.get("claims", {}), f"{at}.claims", faults)
    odd = sorted(claims.keys() - {"tenant", "principal", "roles"})
    faults.require(not odd, f"{at}.claims", f"has {', '.join(odd)}; there are tenant, principal and roles")
    name = _text(fields, "issuer", at, faults)
    faults.require(NAME.fullmatch(name), f"{at}.issuer", "must be the text of the claim `iss`, without spaces")
    audiences = _texts(fields, "audiences", (), at, faults)
    faults.require(audiences, f"{at}.audiences", "at least one is required: a token for somebody else is not for us")
    tenants = _texts(fields, "tenants", (ANY_TENANT,), at, faults)
    for tenant in tenants:
        named = TENANT.fullmatch(tenant) or tenants == (ANY_TENANT,)
        faults.require(named, f"{at}.tenants", f"{tenant!r} is no name of a tenant")
    faults.require(tenants, f"{at}.tenants", "names none; leave it out where its tokens may name any")
    form = fields.get("roles_are", LIST)
    faults.require(form in (LIST, WORDS), f"{at}.roles_are", f"must be {LIST} or {WORDS}")
    return Issuer(
        name,
        audiences,
        _key_set(keys, f"{at}.jwks", faults),
        tenants,
        tenant_claim=_claim(claims, "tenant", "tenant", at, faults),
        principal_claim=_claim(claims, "principal", "sub", at, faults),
        roles_claim=_claim(claims, "roles", "roles", at, faults),
        lists_roles=form == LIST,
    )


def check_apart(issuers: Sequence[Issuer], faults: Faults) -> None:
    """A token is checked by the issuer that it names: there is one of each name."""
    names = [issuer.name for issuer in issuers]
    twice = sorted({name for name in names if names.count(name) > 1})
    faults.require(not twice, "issuers", f"{', '.join(twice)} stands there twice")


def _key_set(content: Any, at: str, faults: Faults) -> str:
    """As JSON, in one form for one content."""
    found = cast(dict[str, Any], content).get("keys") if isinstance(content, dict) else None
    keys = cast(list[Any], found) if isinstance(found, list) else []
    faults.require(keys, at, "must be a key set, {keys: […]} with at least one, or a file that has one")
    for index, key in enumerate(keys):
        _check_key(_mapping(key, f"{at}.keys[{index}]", faults), f"{at}.keys[{index}]", faults)
    return json.dumps({"keys": keys}, sort_keys=True, separators=(",", ":"), default=str)


def _check_key(key: Mapping[str, Any], at: str, faults: Faults) -> None:
    parts = PUBLIC_KEYS.get(str(key.get("kty")))
    if parts is None:
        faults.add(at, f"kty must be one of {', '.join(PUBLIC_KEYS)}")
        return
    missing = [part for part in parts if not isinstance(key.get(part), str)]
    faults.require(not missing, at, f"has no {', '.join(missing)}")
    faults.require("d" not in key, at, "is a private key, which nobody but the issuer should have")


def _claim(claims: Mapping[str, Any], of: str, default: str, at: str, faults: Faults) -> str:
    said = str(claims.get(of, default))
    # a dot leads into a claim: Envoy cannot be told of one that has a dot in its name
    faults.require(CLAIM.fullmatch(said), f"{at}.claims.{of}", "must be the name of a claim, `org` or `org.id`")
    return said


def _text(fields: Mapping[str, Any], name: str, at: str, faults: Faults) -> str:
    said = fields.get(name)
    faults.require(isinstance(said, str) and said, f"{at}.{name}", "is required, a text")
    return said if isinstance(said, str) else ""


def _texts(fields: Mapping[str, Any], name: str, default: tuple[str, ...], at: str, faults: Faults) -> tuple[str, ...]:
    """Ascending, each once."""
    if name not in fields:
        return default
    said = cast(list[Any], fields[name]) if isinstance(fields[name], list) else [None]
    texts = [each for each in said if isinstance(each, str) and each]
    faults.require(len(texts) == len(said), f"{at}.{name}", "must be a list of texts")
    return tuple(sorted(set(texts)))


def _mapping(said: Any, at: str, faults: Faults) -> Mapping[str, Any]:
    faults.require(isinstance(said, dict), at, "must be a mapping")
    return cast(dict[str, Any], said) if isinstance(said, dict) else {}
