"""What is watched, and which model versions on which servers that is."""

from collections.abc import Container, Iterable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    SERVER = "server"
    MODEL_VERSION = "model"
    SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Target:
    """Equal targets are probed alike; `identity` stays when the address changes."""

    kind: Kind
    name: str
    """The server's or the service's; the server's for a model version."""
    address: str
    """host:port that is probed."""
    model: str = ""
    version: str = ""

    @property
    def identity(self) -> str:
        """`server/a`, `model/flight-delay/2@a`, `service/routing`."""
        path = f"{self.model}/{self.version}@{self.name}" if self.kind is Kind.MODEL_VERSION else self.name
        return f"{self.kind}/{path}"


def server(name: str, address: str) -> Target:
    return Target(Kind.SERVER, name, address)


def model_version(model: str, version: str, on: str, address: str) -> Target:
    return Target(Kind.MODEL_VERSION, on, address, model, version)


def service(name: str, address: str) -> Target:
    return Target(Kind.SERVICE, name, address)


@dataclass(frozen=True, slots=True)
class Placement:
    """A model version that is wanted on a server, as its owner tells it."""

    model: str
    version: str
    server: str
    address: str
    ready: bool
    leaving: bool
    """Being taken off: it will stop answering, and that is no fault."""


def inference_targets(
    servers: Iterable[Target], placements: Iterable[Placement], known: Container[str]
) -> tuple[Target, ...]:
    """Servers, and the model versions on them, by identity.

    A model version is watched from the moment when it is first READY on a server until it is taken off: while it loads
    for the first time nothing is owed yet, and once it was there its absence is news. `known` holds the identities
    that are watched already. A server that placements name and the list does not (yet) is watched too.
    """
    found = {target.identity: target for target in servers}
    for placement in placements:
        there = server(placement.server, placement.address)
        found.setdefault(there.identity, there)
        version = model_version(placement.model, placement.version, placement.server, placement.address)
        if not placement.leaving and (placement.ready or version.identity in known):
            found[version.identity] = version
    return tuple(found[identity] for identity in sorted(found))
