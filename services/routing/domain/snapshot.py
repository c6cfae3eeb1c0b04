"""What Envoy is given: the compiled policy and its resources, each with a version that is a hash of its content."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.routing.domain.compiled import Policy


@dataclass(frozen=True, slots=True)
class Resource:
    """One xDS resource: its serialized message and the hash of it that Envoy acknowledges.

    `needs` names the clusters (of a scope: the table) without which Envoy should not get it.
    """

    body: bytes
    version: str
    needs: frozenset[str] = frozenset()

    @classmethod
    def of(cls, body: bytes, needs: Iterable[str] = ()) -> "Resource":
        return cls(body, hashlib.sha256(body).hexdigest()[:16], frozenset(needs))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole policy, compiled. `resources` maps type URL, then resource name."""

    policy: Policy
    resources: Mapping[str, Mapping[str, Resource]]
    revision: str = field(init=False)
    """A hash of the whole content: equal policies have equal revisions, on every replica."""

    def __post_init__(self) -> None:
        # once: it is asked for at every acknowledgement, and ten thousand routes take 10 ms
        object.__setattr__(self, "revision", _revision(self.resources))


def _revision(resources: Mapping[str, Mapping[str, Resource]]) -> str:
    digest = hashlib.sha256()
    for type_url, named in sorted(resources.items()):
        lines = [f"{type_url} {name} {named[name].version}\n" for name in sorted(named)]
        digest.update("".join(lines).encode())
    return digest.hexdigest()[:16]
