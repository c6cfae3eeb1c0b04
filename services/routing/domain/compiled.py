"""The compiled policy: who serves which model, bucket by bucket, in Envoy's terms but without Envoy's messages.

It is what ExplainRoute answers from, what the last snapshot on disk keeps, and what the xDS resources are made of.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address

from services.routing.domain.policy import Limits, LoadBalancing, ModelVersion, Retries, Server


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server as a set sees it: in, or out with the reason."""

    server: str
    address: str
    port: int
    weight: int
    included: bool
    reason: str
    weight_reason: str = ""
    """Why this weight, where servers are weighed."""

    @property
    def host(self) -> str:
        """host:port, as Envoy writes it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class ServerSet:
    """One cluster: the servers that may serve some version, and how one of them is chosen.

    An unhealthy server is out, unless all are: then all stay in, since a refused try costs less than a sure refusal.
    """

    name: str
    load_balancing: LoadBalancing
    endpoints: tuple[Endpoint, ...]

    @property
    def named(self) -> bool:
        """Whether a member has a name for an address; in or out, so that health never changes the kind of a cluster."""
        return not all(is_ip(endpoint.address) for endpoint in self.endpoints)


@lru_cache(4096)
def is_ip(address: str) -> bool:
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Attempt:
    """The n-th try of a call: which version is asked for, and on which server set."""

    target: ModelVersion
    servers: str


@dataclass(frozen=True, slots=True)
class Absent:
    """A version of a chain that no server can serve now, so no attempt is spent on it. The reason is for people."""

    target: ModelVersion
    reason: str


@dataclass(frozen=True, slots=True)
class Chain:
    """What a call tries in order. `wanted` is the version asked for: an answer by another one is degraded.

    Empty attempts: nothing serves any version of the chain, and the call is refused as UNAVAILABLE.
    """

    wanted: ModelVersion
    composite: str
    attempts: tuple[Attempt, ...]
    absent: tuple[Absent, ...] = ()


@dataclass(frozen=True, slots=True)
class Slice:
    """Buckets [start, end) of a model's layer. Outside every experiment `experiment` and `variant` are empty.

    Those of a variant whose version is ready nowhere are `lent` to the default: the chain is the default's, and what it
    answers is neither the variant's nor an exposure.
    """

    start: int
    end: int
    experiment: str
    variant: str
    chain: Chain
    lent: bool = False

    @property
    def outcome(self) -> tuple[str, str, str]:
        """Experiment, variant and version that answers count for."""
        version = self.chain.wanted.version
        return ("", "", version) if self.lent else (self.experiment, self.variant, version)


@dataclass(frozen=True, slots=True)
class Copies:
    """What of a model's calls is copied to which version. `servers` is empty while none can take them: `absence`."""

    target: ModelVersion
    basis_points: int
    servers: str
    absence: str = ""


@dataclass(frozen=True, slots=True)
class ModelPolicy:
    """One scope: the slices cover all buckets once, in order; `pinned` holds a chain for each deployed version."""

    model: str
    salt: str
    slices: tuple[Slice, ...]
    pinned: tuple[Chain, ...]
    retries: Retries
    timeout: float
    limits: Limits
    exhausted_tenants: tuple[str, ...] = ()
    load_balancing: LoadBalancing = LoadBalancing.ROUND_ROBIN
    copies: Copies | None = None

    @property
    def clusters(self) -> frozenset[str]:
        """Every cluster that the model's table names."""
        return self.composites | {self.copies.servers} if self.copies and self.copies.servers else self.composites

    def owner(self, bucket: int) -> Slice:
        return next(s for s in self.slices if s.start <= bucket < s.end)

    @property
    def composites(self) -> frozenset[str]:
        """Every chain's shape that some call of the model may take."""
        chains = (*(s.chain for s in self.slices), *self.pinned)
        return frozenset(chain.composite for chain in chains if chain.composite)


@dataclass(frozen=True, slots=True)
class Fault:
    """An input that could not be honoured, and what was done instead."""

    model: str
    message: str


@dataclass(frozen=True, slots=True)
class Policy:
    """The whole policy. `composites` maps a chain's shape to the server set of each attempt.

    `servers`, `ready` and `unhealthy` are the facts that it rests on, kept to explain it; `unhealthy` is by server,
    model and version, the latter two empty where the whole server is out.
    """

    models: Mapping[str, ModelPolicy]
    server_sets: Mapping[str, ServerSet]
    composites: Mapping[str, tuple[str, ...]]
    servers: Mapping[str, Server]
    ready: Mapping[ModelVersion, tuple[str, ...]]
    unhealthy: Mapping[tuple[str, str, str], str]
    faults: tuple[Fault, ...] = ()
