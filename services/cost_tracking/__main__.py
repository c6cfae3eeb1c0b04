"""python -m services.cost_tracking"""

import os
from pathlib import Path

import grpc

from libs import serve
from libs.channels import open_channel
from libs.clock import SystemClock
from libs.postgres import Database
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as pb
from penstock.cost_tracking.v1.cost_tracking_service_pb2_grpc import add_CostTrackingServiceServicer_to_server
from services.cost_tracking import config
from services.cost_tracking.clients import EnvoyCounters, ServerCounters
from services.cost_tracking.servers.servicer import CostTrackingServicer
from services.cost_tracking.stores.ledger import PostgresLedger
from services.cost_tracking.stores.prices import PostgresPrices
from services.cost_tracking.stores.spend import PostgresSpend

NAME = "cost_tracking"
MIGRATIONS = Path(__file__).parent / "migrations"


async def build(settings: config.Config) -> serve.App:
    database = Database(settings.postgres_dsn, NAME, MIGRATIONS)
    mesh = open_channel(settings.mesh_address)
    servicer = CostTrackingServicer(
        database=database,
        prices=PostgresPrices(database),
        ledger=PostgresLedger(database),
        books=PostgresSpend(database),
        envoy=EnvoyCounters(settings.envoy_admin),
        servers=ServerCounters(mesh),
        clock=SystemClock(),
    )

    def register(server: grpc.aio.Server) -> None:
        add_CostTrackingServiceServicer_to_server(servicer, server)

    return serve.App(
        services=[pb.DESCRIPTOR.services_by_name["CostTrackingService"].full_name],
        register=register,
        background=[database.keep_open()],
        components={"postgres": lambda: database.reachable},
        close=[mesh.close, database.close],
    )


def main() -> None:
    settings = config.read(os.environ)
    serve.run(NAME, settings.address, lambda: build(settings))


if __name__ == "__main__":
    main()
