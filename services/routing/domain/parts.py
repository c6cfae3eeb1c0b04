"""A policy taken apart for its history: every input and resource by type and name, with a hash of its content."""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from services.routing.domain.policy import (
    Allocation,
    ApiKey,
    Deployment,
    Exhausted,
    Inputs,
    Issuer,
    Limits,
    LoadBalancing,
    Mirror,
    ModelVersion,
    Range,
    RateLimit,
    Retries,
    Route,
    Scope,
    Server,
    ServerWeight,
    Unhealthy,
)
from services.routing.domain.snapshot import Snapshot

Key: TypeAlias = tuple[str, str]
"""Type (`route`, `Cluster`) and name."""
Manifest: TypeAlias = Mapping[Key, str]
"""The hash of each part."""
Input: TypeAlias = (
    Route | Server | Deployment | Allocation | Unhealthy | Exhausted | ApiKey | RateLimit | ServerWeight | Issuer
)

ROUTE = "route"
WEIGHT = "weight"
ISSUER = "issuer"
ENDPOINTS = "ClusterLoadAssignment"
NAMES: Mapping[str, Callable[[Any], str]] = {
    ROUTE: lambda route: route.model,
    "server": lambda server: server.id,
    "deployment": lambda deployment: f"{deployment.model}/{deployment.version}",
    "allocation": lambda allocation: f"{allocation.model}/{allocation.experiment}",
    "unhealthy": lambda target: f"{target.model}/{target.version}@{target.server}" if target.model else target.server,
    "exhausted": lambda budget: f"{budget.tenant}/{budget.model}",
    "api_key": lambda key: key.id,
    "rate_limit": lambda limit: limit.name,
    WEIGHT: lambda weight: weight.server,
    ISSUER: lambda issuer: issuer.name,
}
"""How an input of each type is named."""


@dataclass(frozen=True, slots=True)
class Delta:
    """What makes one manifest of another."""

    put: Mapping[Key, str]
    gone: frozenset[Key]

    @property
    def keys(self) -> frozenset[Key]:
        return self.gone | self.put.keys()

    @property
    def worth_telling(self) -> bool:
        """Not what changes no route and no resource, and not what only shares calls out anew: servers' weights follow
        the load all day, and would push the decisions of people out of a history of a hundred.
        """
        inputs = {kind for kind, _ in self.keys if kind in NAMES}
        resources = {kind for kind, _ in self.keys} - inputs
        weighed = inputs == {WEIGHT} and resources <= {ENDPOINTS}
        return (bool(resources) and not weighed) or ROUTE in inputs


def delta(before: Manifest, after: Manifest) -> Delta:
    put = {key: content for key, content in after.items() if before.get(key) != content}
    return Delta(put, frozenset(before.keys() - after.keys()))


def is_input(key: Key) -> bool:
    return key[0] in NAMES


def input_groups(inputs: Inputs) -> Mapping[str, Sequence[Input]]:
    """By type, as they were given."""
    return {
        ROUTE: inputs.routes,
        "server": inputs.servers,
        "deployment": inputs.deployments,
        "allocation": inputs.allocations,
        "unhealthy": inputs.unhealthy,
        "exhausted": inputs.exhausted,
        "api_key": inputs.keys,
        "rate_limit": inputs.limits,
        WEIGHT: inputs.weights,
        ISSUER: inputs.issuers,
    }


def named_inputs(kind: str, group: Iterable[Input]) -> dict[str, Input]:
    """Inputs of one type by name."""
    name = NAMES[kind]
    return {name(each): each for each in group}


def resources_of(snapshot: Snapshot) -> dict[Key, str]:
    return {
        (short(url), name): resource.version
        for url, named in snapshot.resources.items()
        for name, resource in named.items()
    }


def bodies_of(snapshot: Snapshot, keys: Iterable[Key]) -> dict[str, bytes]:
    """The content of these resources, by its hash."""
    urls = {short(url): url for url in snapshot.resources}
    found = (snapshot.resources[urls[kind]][name] for kind, name in keys)
    return {resource.version: resource.body for resource in found}


def short(url: str) -> str:
    """`Cluster` of its type URL."""
    return url.rpartition(".")[2]


def content_hash(body: bytes) -> str:
    """As resources' versions are made."""
    return hashlib.sha256(body).hexdigest()[:16]


def encode(value: Input) -> bytes:
    """Canonical: equal inputs have equal bytes. Of keys who they are, not their hashes."""
    content = asdict(value)
    content.pop("sha256", None)
    if content.get("mirror", "") is None:  # as releases without mirrors wrote it
        del content["mirror"]
    if content.get("limits") == asdict(Limits()):
        del content["limits"]
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def decode(kind: str, body: bytes) -> Input:
    """What was encoded; keys without hashes."""
    return DECODERS[kind](json.loads(body))


def inputs_of(parts: Mapping[Key, bytes]) -> Inputs:
    """Inputs of their encoded parts; in the order of their names, which carries no meaning."""
    found: dict[str, list[Any]] = {kind: [] for kind in NAMES}
    for (kind, _), body in sorted(parts.items()):
        if kind in found:
            found[kind].append(decode(kind, body))
    return Inputs(
        servers=tuple(found["server"]),
        deployments=tuple(found["deployment"]),
        routes=tuple(found[ROUTE]),
        allocations=tuple(found["allocation"]),
        unhealthy=tuple(found["unhealthy"]),
        exhausted=tuple(found["exhausted"]),
        keys=tuple(found["api_key"]),
        limits=tuple(found["rate_limit"]),
        weights=tuple(found[WEIGHT]),
        issuers=tuple(found[ISSUER]),
    )


def retries_of(content: Any) -> Retries:
    """Also of routes that were written before their back-off could be set."""
    return Retries(content["attempts"], content["per_try_timeout"], content.get("back_off", Retries().back_off))


def _route(content: Any) -> Route:
    return Route(
        **content
        | {
            "fallbacks": tuple(ModelVersion(**target) for target in content["fallbacks"]),
            "load_balancing": LoadBalancing(content["load_balancing"]),
            "retries": retries_of(content["retries"]),
            "mirror": Mirror(**content["mirror"]) if content.get("mirror") else None,
            "limits": Limits(**content["limits"]) if content.get("limits") else Limits(),
        }
    )


def _allocation(content: Any) -> Allocation:
    return Allocation(**content | {"ranges": tuple(Range(**owned) for owned in content["ranges"])})


DECODERS: Mapping[str, Callable[[Any], Input]] = {
    ROUTE: _route,
    "server": lambda content: Server(**content),
    "deployment": lambda content: Deployment(**content | {"servers": tuple(content["servers"])}),
    "allocation": _allocation,
    "unhealthy": lambda content: Unhealthy(**content),
    "exhausted": lambda content: Exhausted(**content),
    "api_key": lambda content: ApiKey(**content | {"sha256": "", "roles": tuple(content["roles"])}),
    "rate_limit": lambda content: RateLimit(**content | {"scope": Scope(content["scope"])}),
    WEIGHT: lambda content: ServerWeight(**content),
    ISSUER: lambda content: Issuer(
        **content | {"audiences": tuple(content["audiences"]), "tenants": tuple(content["tenants"])}
    ),
}
