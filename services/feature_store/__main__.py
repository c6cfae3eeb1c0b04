"""python -m services.feature_store"""

import os
from pathlib import Path

import grpc

from libs import serve
from libs.clock import SystemClock
from libs.postgres import Database
from libs.redis import open_redis
from libs.workers import run_workers
from penstock.feature_store.v1 import feature_registry_service_pb2, feature_serving_service_pb2
from penstock.feature_store.v1.feature_registry_service_pb2_grpc import add_FeatureRegistryServiceServicer_to_server
from penstock.feature_store.v1.feature_serving_service_pb2_grpc import add_FeatureServingServiceServicer_to_server
from services.feature_store import config
from services.feature_store.domain.history import HistoryReader
from services.feature_store.domain.online import OnlineReader
from services.feature_store.domain.registration import Catalog, Registrar
from services.feature_store.domain.restoration import Restorer
from services.feature_store.domain.writing import OnlineWriter, Writer
from services.feature_store.servers.registry import FeatureRegistryServicer
from services.feature_store.servers.serving import FeatureServingServicer
from services.feature_store.stores.compaction import Compactor
from services.feature_store.stores.history import History
from services.feature_store.stores.online import RedisOnlineStore
from services.feature_store.stores.registry import PostgresRegistry

NAME = "feature_store"
MIGRATIONS = Path(__file__).parent / "migrations"


async def build(settings: config.Config) -> serve.App:
    clock = SystemClock()
    database = Database(settings.postgres_dsn, NAME, MIGRATIONS)
    redis = open_redis(settings.redis_url)
    registry = PostgresRegistry(database)
    online = RedisOnlineStore(redis)
    history = History(database, settings.history)
    catalog = Catalog(registry)
    writer = OnlineWriter(online)
    registering = FeatureRegistryServicer(database, Registrar(registry, clock), registry, catalog)
    serving = FeatureServingServicer(
        catalog, Writer(history, writer), OnlineReader(online), HistoryReader(history), clock
    )

    def register(server: grpc.aio.Server) -> None:
        add_FeatureRegistryServiceServicer_to_server(registering, server)
        add_FeatureServingServiceServicer_to_server(serving, server)

    return serve.App(
        services=[
            feature_registry_service_pb2.DESCRIPTOR.services_by_name["FeatureRegistryService"].full_name,
            feature_serving_service_pb2.DESCRIPTOR.services_by_name["FeatureServingService"].full_name,
        ],
        register=register,
        background=[
            database.keep_open(),
            Restorer(registry, history, online, writer).keep_whole(),
            Compactor(database, settings.history, clock.now).keep_compacting(),
        ],
        components={"postgres": lambda: database.reachable, "redis": lambda: online.readable},
        close=[redis.aclose, database.close],
    )


def main() -> None:
    def work(worker: int) -> None:
        settings = config.read(os.environ, worker)
        serve.run(NAME, settings.address, lambda: build(settings))

    run_workers(config.read(os.environ).workers, "services.feature_store", work)


if __name__ == "__main__":
    main()
