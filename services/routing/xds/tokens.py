"""Which tokens Envoy's own filter takes, and what it tells the filter at the ingress of each.

It comes by itself, like whom the ingress lets in: another key set is in force with the next call, and nothing drains.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from services.routing.domain.policy import Issuer
from services.routing.xds.messages import JwtAuthentication, TypedExtensionConfig, packed

JWT = "jwt"
"""Of the filter, and of its configuration."""

BEARERS = [{"name": "authorization", "value_prefix": prefix} for prefix in ("Bearer ", "bearer ")]
"""Nowhere else: Envoy's default takes one from the query too, which ends in logs."""
CLAIM = "x-penstock-token-"
FAULT = "fault"


def verifier(issuers: Sequence[Issuer]) -> Message:
    """A token that is none of theirs is left where it was: the filter at the ingress refuses it, as it does others."""
    every: dict[str, Any] = {"match": {"prefix": "/"}, "requires": {"allow_missing_or_failed": {}}}
    providers = {issuer.name: _provider(issuer) for issuer in issuers}
    return TypedExtensionConfig(
        name=JWT, typed_config=packed(JwtAuthentication(providers=providers, rules=[every] if issuers else []))
    )


def _provider(issuer: Issuer) -> dict[str, Any]:
    claims = {
        "issuer": "iss",
        "tenant": issuer.tenant_claim,
        "principal": issuer.principal_claim,
        "roles": issuer.roles_claim,
    }
    return {
        "issuer": issuer.name,
        "audiences": issuer.audiences,
        "local_jwks": {"inline_string": issuer.jwks},
        "require_expiration": True,
        "from_headers": BEARERS,
        "failed_status_in_metadata": FAULT,
        "claim_to_headers": [{"header_name": CLAIM + name, "claim_name": claim} for name, claim in claims.items()],
    }
