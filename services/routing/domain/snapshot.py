"""What Envoy is given: the compiled policy and its resources, each with a version that is a hash of its content."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from services.routing.domain.compiled import Policy


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource: its serialized message and the hash of it that Envoy acknowledges."""

    body: bytes
    version: str

    @classmethod
    def of(cls, body: bytes) -> "Resource":
        return cls(body, hashlib.sha256(body).hexdigest()[:16])


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole policy, compiled. `resources` maps type URL, then resource name."""

    policy: Policy
    resources: Mapping[str, Mapping[str, Resource]]

    @property
    def revision(self) -> str:
        """A hash of the whole content: equal policies have equal revisions, on every replica."""
        digest = hashlib.sha256()
        for type_url in sorted(self.resources):
            for name, resource in sorted(self.resources[type_url].items()):
                digest.update(f"{type_url} {name} {resource.version}\n".encode())
        return digest.hexdigest()[:16]
