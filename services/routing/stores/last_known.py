"""What was known last, in a file: a routing that restarts while everybody else is down goes on with the same policy."""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from services.routing.domain.known import Deployed, Known
from services.routing.domain.parts import retries_of
from services.routing.domain.policy import (
    Allocation,
    ApiKey,
    Deployment,
    Limits,
    LoadBalancing,
    Mirror,
    ModelVersion,
    Range,
    RateLimit,
    Route,
    Scope,
    Server,
    ServerWeight,
    Unhealthy,
)

Item = Route | Server | Deployment | Allocation | Unhealthy | ApiKey | RateLimit | ServerWeight

log = logging.getLogger(__name__)

FORMAT = 1


class LastKnownFile:
    """`last_known.json` in the service's own folder. One process writes it.

    It is written after each change: what is written already is remembered as it was written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "last_known.json"
        self._written: dict[str, tuple[Sequence[Item], dict[int, str]]] = {}

    def read(self) -> Known:
        """Nothing known when there is no file, or one that cannot be read: that is said, and is like a first start."""
        try:
            return _decode(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return Known()
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.error("%s cannot be read, beginning with nothing: %r", self._path, error)  # noqa: TRY400  the trace says no more
            return Known()

    def write(self, known: Known) -> None:
        """Replaces the file in one step. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_suffix(".new")
        with open(fresh, "w", opener=_private) as file:
            file.write(self._text(known))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def _text(self, known: Known) -> str:
        deployed = known.deployed
        lists = {
            "routes": known.routes,
            "servers": None if deployed is None else deployed.servers,
            "deployments": None if deployed is None else deployed.deployments,
            "allocations": known.allocations,
            "unhealthy": known.unhealthy,
            "keys": known.keys,
            "limits": known.limits,
            "weights": known.weights,
        }
        text = {name: self._list(name, items) for name, items in lists.items()}
        fleet = f'{{"servers":{text.pop("servers")},"deployments":{text.pop("deployments")}}}'
        parts = {"format": str(FORMAT), **text, "deployed": "null" if deployed is None else fleet}
        return "{" + ",".join(f'"{name}":{value}' for name, value in parts.items()) + "}"

    def _list(self, name: str, items: Sequence[Item] | None) -> str:
        if items is None:
            return "null"
        known, written = self._written.get(name, ((), {}))
        if known is not items:
            # by identity: `known` is held, so nothing else can have come to have the place of one of them
            written = {id(item): written.get(id(item)) or _text(item) for item in items}
            self._written[name] = items, written
        return "[" + ",".join([written[id(item)] for item in items]) + "]"


def _text(item: Item) -> str:
    return json.dumps(asdict(item), separators=(",", ":"))


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _decode(content: Any) -> Known:
    if content["format"] != FORMAT:
        raise ValueError(f"format {content['format']} is not {FORMAT}")
    deployed, allocations = content["deployed"], content["allocations"]
    routes, unhealthy = content["routes"], content["unhealthy"]
    # releases without keys, limits and weights wrote none
    keys, limits = content.get("keys"), content.get("limits")
    return Known(
        routes=None if routes is None else tuple(_route(route) for route in routes),
        deployed=None if deployed is None else _fleet(deployed),
        allocations=None if allocations is None else tuple(_allocation(allocation) for allocation in allocations),
        unhealthy=None if unhealthy is None else tuple(Unhealthy(**target) for target in unhealthy),
        keys=None if keys is None else tuple(ApiKey(**key | {"roles": tuple(key["roles"])}) for key in keys),
        limits=None if limits is None else tuple(_limit(limit) for limit in limits),
        weights=tuple(ServerWeight(**weight) for weight in content.get("weights", ())),
    )


def _route(content: dict[str, Any]) -> Route:
    fields = content | {
        "fallbacks": tuple(ModelVersion(**target) for target in content["fallbacks"]),
        "load_balancing": LoadBalancing(content["load_balancing"]),
        "retries": retries_of(content["retries"]),
        "mirror": Mirror(**content["mirror"]) if content.get("mirror") else None,
        "limits": Limits(**content["limits"]) if content.get("limits") else Limits(),
    }
    return Route(**cast(Any, fields))


def _fleet(content: dict[str, Any]) -> Deployed:
    deployments = (Deployment(d["model"], d["version"], tuple(d["servers"])) for d in content["deployments"])
    return Deployed(tuple(Server(**server) for server in content["servers"]), tuple(deployments))


def _allocation(content: dict[str, Any]) -> Allocation:
    ranges = tuple(Range(**owned) for owned in content["ranges"])
    return Allocation(content["experiment"], content["model"], content["salt"], ranges)


def _limit(content: dict[str, Any]) -> RateLimit:
    fields = content | {"scope": Scope(content["scope"])}
    return RateLimit(**cast(Any, fields))
