"""What the compiler reads: everything that decides where an inference goes, as its owners published it.

Every value is immutable and hashable, so that equal inputs are recognised and compile to equal policies.
"""

from dataclasses import dataclass
from enum import StrEnum


class LoadBalancing(StrEnum):
    """How one server of a set is chosen."""

    ROUND_ROBIN = "ROUND_ROBIN"
    LEAST_REQUEST = "LEAST_REQUEST"
    RING_HASH = "RING_HASH"
    """By the unit: one stays with its server, and a server that comes or goes moves few of them."""
    WEIGHTED_RESPONSE_TIME = "WEIGHTED_RESPONSE_TIME"
    """By weights that follow how fast each server answers."""


@dataclass(frozen=True, slots=True)
class Server:
    """One Triton instance: its gRPC address (an IP or a DNS name) and its share among equals."""

    id: str
    address: str
    port: int
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a model version is READY, by server id. A version that is READY nowhere is deployed with no servers."""

    model: str
    version: str
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version of a model; fallbacks may name another model than the route's."""

    model: str
    version: str


@dataclass(frozen=True, slots=True)
class Retries:
    """Attempts after the first, each within `per_try_timeout`, apart by a random back-off. Durations in seconds.

    The defaults fail no call when one of two servers is killed: fewer retries do not outlast the ejection.
    """

    attempts: int = 5
    per_try_timeout: float = 2.0
    back_off: float = 0.005
    """Drawn from none to this, doubling with each attempt to ten times this."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """A version that gets copies of `basis_points` of 10,000 calls; nobody gets its answers."""

    version: str
    basis_points: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls of a class under way at once through one Envoy, and those that wait behind them.

    The defaults bound what a model that hangs may hold: others have their own. 50 keep any model busy that takes
    milliseconds; more callers than that wait, which costs them nothing that they would not wait for at the server.
    """

    max_calls: int = 50
    max_waiting: int = 1000
    max_message_bytes: int = 0
    """0: as large as any may be."""


@dataclass(frozen=True, slots=True)
class Route:
    """How calls to a model are served. `timeout` (seconds) bounds a call whose caller set no deadline; 0 means none."""

    model: str
    default_version: str
    fallbacks: tuple[ModelVersion, ...] = ()
    load_balancing: LoadBalancing = LoadBalancing.LEAST_REQUEST
    timeout: float = 0.0
    retries: Retries = Retries()
    mirror: Mirror | None = None
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Range:
    """Buckets [start, end) of a layer that one variant owns."""

    start: int
    end: int
    variant: str
    version: str


@dataclass(frozen=True, slots=True)
class Allocation:
    """An experiment's share of a model's layer. Allocations of one model carry the same salt and disjoint ranges."""

    experiment: str
    model: str
    salt: str
    ranges: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """A target that must get no traffic: a whole server, or (when named) one model version on it."""

    server: str
    reason: str
    model: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class ServerWeight:
    """A server's share of the calls among servers that are weighed, as health_monitoring says; the mean is EVEN."""

    server: str
    weight: int
    reason: str = ""


EVEN = 100
"""The weight of a server that nothing is known of."""


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A budget that is spent and refuses: calls of this tenant (to this model, when named) are denied."""

    tenant: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is good, by its SHA-256 in hexadecimal digits; the key itself is known to its holder only.

    `roles` ascend.
    """

    id: str
    sha256: str
    tenant: str
    principal: str
    roles: tuple[str, ...]


class Scope(StrEnum):
    """What has a bucket of its own."""

    TENANT = "TENANT"
    UNIT = "UNIT"
    """Each routing key of each tenant; a tenant's calls without one share a bucket."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A bucket of `burst` tokens, filled with `requests_per_second`. Without a tenant: every tenant, each its own.

    `shadow`: what is above is counted, not refused.
    """

    name: str
    tenant: str
    scope: Scope
    requests_per_second: float
    burst: int
    shadow: bool = False


ANY_TENANT = "*"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are taken, by the name in their claim `iss`; `jwks` is its public keys, a JSON Web Key Set.

    `tenants` are those that its tokens may name, or only ANY_TENANT. A claim within a claim has a dot before it.
    """

    name: str
    audiences: tuple[str, ...]
    jwks: str
    tenants: tuple[str, ...] = (ANY_TENANT,)
    tenant_claim: str = "tenant"
    principal_claim: str = "sub"
    roles_claim: str = "roles"
    lists_roles: bool = True
    """Whether that claim is a list; else a text, with spaces or commas in it."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a policy is compiled from. The order of its tuples carries no meaning."""

    servers: tuple[Server, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    routes: tuple[Route, ...] = ()
    allocations: tuple[Allocation, ...] = ()
    unhealthy: tuple[Unhealthy, ...] = ()
    exhausted: tuple[Exhausted, ...] = ()
    keys: tuple[ApiKey, ...] = ()
    limits: tuple[RateLimit, ...] = ()
    weights: tuple[ServerWeight, ...] = ()
    issuers: tuple[Issuer, ...] = ()
