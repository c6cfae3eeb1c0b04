"""The parts of the stack, and what each of our processes finds in its environment."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from deploy.local import envoy, probes, redis, triton
from deploy.local.part import Part
from deploy.local.places import Places
from deploy.local.ports import DEFAULTS, SERVICES, TRITONS, Ports
from deploy.local.postgres import Postgres

STORES = ("postgres", "redis")
SERVERS = (*STORES, *(triton.name(server) for server in TRITONS), "envoy")
COMPANIONS = ("keeper", "logship")
ALL = (*SERVERS, *COMPANIONS, *SERVICES)


class UnknownPart(Exception):
    """A name that is no part of the stack; the message lists those that are."""


def build(places: Places, ports: Ports, names: Sequence[str] = ALL, *, durable: bool = True) -> list[Part]:
    """The named parts. A part's needs that are not named with it are taken as met."""
    unknown = sorted(set(names) - set(ALL))
    if unknown:
        raise UnknownPart(f"no such part: {', '.join(unknown)}. Parts: {', '.join(ALL)}")
    return [_build(name, places, ports, names, durable) for name in ALL if name in names]


def _build(name: str, places: Places, ports: Ports, names: Sequence[str], durable: bool) -> Part:
    if name == "postgres":
        return Postgres.of(places).part(durable=durable)
    if name == "redis":
        return redis.part(places, ports)
    if name.startswith("triton-"):
        return triton.part(places, ports, name.removeprefix("triton-"))
    if name == "envoy":
        return envoy.part(places, ports, ads="keeper" if "keeper" in names else "routing")
    if name in COMPANIONS:
        return Part(
            name=name,
            argv=_module(f"deploy.envoy.{name}"),
            env=environment(places, ports, name),
            ready=probes.http(ports[f"{name}_metrics"], "/metrics"),
            ports=(*(p for p in (name,) if p in DEFAULTS), f"{name}_metrics"),
            tier=3,
        )
    return Part(
        name=name,
        argv=_module(f"services.{name}"),
        env=environment(places, ports, name),
        ready=probes.grpc_health(ports[name]),
        needs=tuple(store for store in STORES if store in names),
        ports=(name, *(p for p in (f"{name}_http",) if p in DEFAULTS), f"{name}_metrics"),
        tier=3,
        # drains: first Envoy must notice, then calls in flight may end
        grace=15.0,
    )


def environment(places: Places, ports: Ports, name: str) -> Mapping[str, str]:
    """Configuration of one of our own processes. Each reads what it knows and ignores the rest."""
    own = {
        "PENSTOCK_POSTGRES_DSN": Postgres.of(places).dsn(),
        "PENSTOCK_REDIS_URL": redis.url(ports),
        "PENSTOCK_MESH_ADDRESS": f"127.0.0.1:{ports['mesh']}",
        "PENSTOCK_STATE_DIR": str(places.data(name)),
        "PENSTOCK_ARTIFACTS_DIR": str(places.data("artifacts")),
        "PENSTOCK_TRITON_SERVERS": triton.addresses(ports, "grpc"),
        "PENSTOCK_TRITON_METRICS": triton.addresses(ports, "metrics"),
        "PENSTOCK_ENVOY_ADMIN": f"127.0.0.1:{ports['envoy_admin']}",
        "PENSTOCK_ADS_TARGET": f"127.0.0.1:{ports['routing']}",
        "PENSTOCK_ACCESS_LOG": str(envoy.access_log(places)),
        "PENSTOCK_SERVICE_ADDRESSES": ",".join(f"{s}=127.0.0.1:{ports[s]}" for s in SERVICES),
        "PENSTOCK_PROBE_INTERVAL_SECONDS": "1",
    }
    own["PENSTOCK_METRICS_PORT"] = str(ports[f"{name}_metrics"])
    if name in DEFAULTS:
        own["PENSTOCK_LISTEN"] = f"127.0.0.1:{ports[name]}"
    if f"{name}_http" in DEFAULTS:
        own["PENSTOCK_HTTP_LISTEN"] = f"127.0.0.1:{ports[f'{name}_http']}"
    return own


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)
