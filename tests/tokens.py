"""An issuer of tokens: makes keys, says them as a key set, signs."""

from __future__ import annotations

import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

AUDIENCE = "penstock"
MINUTES = 600


class Signer:
    """One key pair, `kid` its name."""

    def __init__(self, kid: str = "first") -> None:
        self.kid = kid
        self.private = rsa.generate_private_key(65537, 2048)

    def public(self) -> dict[str, Any]:
        """The key as a member of a key set."""
        return {**RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True), "kid": self.kid, "alg": "RS256"}

    def token(self, issuer: str, **claims: Any) -> str:
        """Good for ten minutes and for Penstock unless `claims` say something else; those that are None it has not."""
        told = {"iss": issuer, "aud": AUDIENCE, "exp": int(time.time()) + MINUTES, **claims}
        said = {name: value for name, value in told.items() if value is not None}
        return jwt.encode(said, self.private, algorithm="RS256", headers={"kid": self.kid})


def key_set(*signers: Signer) -> str:
    return json.dumps({"keys": [signer.public() for signer in signers]})


def bearer(token: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {token}")
