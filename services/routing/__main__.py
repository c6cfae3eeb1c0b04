"""python -m services.routing"""

import os
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import grpc

from libs import serve
from libs.channels import open_channel
from libs.clock import Clock, SystemClock
from libs.config import ConfigError
from libs.errors import Invalid
from libs.postgres import Database
from penstock.routing.v1 import access_service_pb2, routing_service_pb2
from penstock.routing.v1.access_service_pb2_grpc import add_AccessServiceServicer_to_server
from penstock.routing.v1.routing_service_pb2_grpc import add_RoutingServiceServicer_to_server
from services.routing import clients, config
from services.routing.compilation import Compilation
from services.routing.domain.compiler import compile_policy
from services.routing.domain.existing import require_existing
from services.routing.domain.known import Ears
from services.routing.domain.policy import Issuer, Route
from services.routing.recording import Recorder
from services.routing.servers import public
from services.routing.servers.access import AccessServicer
from services.routing.servers.routing import RoutingServicer
from services.routing.servers.selections import Selector
from services.routing.servers.snapshots import Snapshots
from services.routing.servers.texts import Texts
from services.routing.stores.admin_key import ensure_a_key
from services.routing.stores.history import PostgresHistory
from services.routing.stores.issuers import IssuersFile
from services.routing.stores.keys import PostgresKeys
from services.routing.stores.last_known import LastKnownFile
from services.routing.stores.limits import PostgresLimits
from services.routing.stores.routes import PostgresRoutes
from services.routing.xds.ads import Ads
from services.routing.xds.export import export
from services.routing.xds.messages import (
    Cluster,
    ClusterLoadAssignment,
    RouteConfiguration,
    ScopedRouteConfiguration,
    TypedExtensionConfig,
)
from services.routing.xds.resources import SnapshotCompiler
from services.routing.xds.routes import table_name

NAME = "routing"
RESOURCES = (Cluster, ClusterLoadAssignment, RouteConfiguration, ScopedRouteConfiguration, TypedExtensionConfig)
SERVICES = [
    access_service_pb2.DESCRIPTOR.services_by_name["AccessService"].full_name,
    routing_service_pb2.DESCRIPTOR.services_by_name["RoutingService"].full_name,
]
MIGRATIONS = Path(__file__).parent / "migrations"
Word = TypeVar("Word")


async def build(settings: config.Config) -> serve.App:
    clock = SystemClock()
    database = Database(settings.postgres_dsn, NAME, MIGRATIONS)
    routes, keys, limits = PostgresRoutes(database), PostgresKeys(database), PostgresLimits(database)
    mesh = open_channel(settings.mesh_address)
    ads = Ads(clock, authentication=settings.auth)
    last_known = LastKnownFile(settings.state_dir)
    issuers = IssuersFile(settings.issuers) if settings.issuers else None
    ears = Ears(replace(last_known.read(), issuers=_first(issuers) if issuers else ()))
    history = PostgresHistory(database)
    recorder = Recorder(history, clock)
    compilation = Compilation(
        ears,
        SnapshotCompiler(authentication=settings.auth, origins=settings.origins).compile,
        ads.publish,
        last_known,
        record=recorder.note,
    )
    registry = clients.Registry(mesh)

    async def existing(route: Route, before: Route | None) -> None:
        await require_existing(route, before, ears.known.deployed, registry)

    snapshots = Snapshots(
        database=database,
        history=history,
        routes=routes,
        published=recorder,
        compile_policy=compile_policy,
        table_name=table_name,
        texts=Texts({message.DESCRIPTOR.name: message for message in RESOURCES}),
        deployed=lambda: ears.known.deployed,
        clock=clock,
    )
    servicer = RoutingServicer(
        database=database,
        routes=routes,
        proxies=ads,
        policies=compilation,
        export=export,
        require_existing=existing,
        snapshots=snapshots,
        selector=Selector(partial(secrets.randbits, 64)),
        clock=clock,
    )
    access = AccessServicer(database=database, keys=keys, limits=limits, random=secrets.token_bytes, clock=clock)

    def register(server: grpc.aio.Server) -> None:
        add_RoutingServiceServicer_to_server(servicer, server)
        add_AccessServiceServicer_to_server(access, server)
        ads.register(server)

    return serve.App(
        services=SERVICES,
        register=register,
        reflected=public.SERVICES,
        background=[
            database.keep_open(),
            compilation.run(),
            recorder.run(),
            _listen(routes.watch(), ears.routes),
            _listen(limits.watch(), ears.limits),
            *([_listen(issuers.watch(), ears.issuers)] if issuers else []),
            _listen_to_keys(keys, ears, settings, clock),
            _listen(clients.follow_deployed(mesh), ears.deployed),
            _listen(clients.follow_allocations(mesh), ears.allocations),
            _listen(clients.follow_health(mesh), ears.judged),
        ],
        # with a policy in force Envoy is served, whether or not routes can be written
        components={"policy or postgres": lambda: compilation.newest is not None or database.reachable},
        close=[mesh.close, database.close],
    )


def _first(file: IssuersFile) -> tuple[Issuer, ...]:
    """What it says at start, where a fault of it ends the start."""
    try:
        return file.read()
    except Invalid as error:
        raise ConfigError(f"cannot start:\n  PENSTOCK_JWT_PROVIDERS: {error}") from error


async def _listen_to_keys(keys: PostgresKeys, ears: Ears, settings: config.Config, clock: Clock) -> None:
    if settings.auth:
        await ensure_a_key(keys, settings.state_dir, secrets.token_bytes, clock)
    await _listen(keys.watch(), ears.keys)


async def _listen(words: AsyncIterator[Word], hear: Callable[[Word], None]) -> None:
    async for word in words:
        hear(word)


def main() -> None:
    settings = config.read(os.environ)
    serve.run(NAME, settings.address, lambda: build(settings))


if __name__ == "__main__":
    main()
