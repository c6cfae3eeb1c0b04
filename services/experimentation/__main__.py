"""python -m services.experimentation"""

import os
from pathlib import Path

import grpc

from libs import serve
from libs.channels import open_channel
from libs.clock import SystemClock
from libs.postgres import Database
from libs.watch import Publisher
from penstock.experimentation.v1 import experimentation_service_pb2 as pb
from penstock.experimentation.v1.experiment_pb2 import Allocation
from penstock.experimentation.v1.experimentation_service_pb2_grpc import add_ExperimentationServiceServicer_to_server
from services.experimentation import config
from services.experimentation.clients import RoutingClient, ServingClient
from services.experimentation.servers.experimentation import ExperimentationServicer
from services.experimentation.servers.feed import AllocationFeed
from services.experimentation.stores.evidence import PostgresEvidence
from services.experimentation.stores.experiments import CHANGED, PostgresExperiments

NAME = "experimentation"
MIGRATIONS = Path(__file__).parent / "migrations"


async def build(settings: config.Config) -> serve.App:
    database = Database(settings.postgres_dsn, NAME, MIGRATIONS)
    mesh = open_channel(settings.mesh_address)
    experiments = PostgresExperiments(database)
    publisher: Publisher[Allocation] = Publisher()
    feed = AllocationFeed(experiments, publisher)
    database.on_notification(CHANGED, feed.changed)
    servicer = ExperimentationServicer(
        database=database,
        experiments=experiments,
        evidence=PostgresEvidence(database),
        routes=RoutingClient(mesh),
        serving=ServingClient(mesh),
        publisher=publisher,
        clock=SystemClock(),
    )

    def register(server: grpc.aio.Server) -> None:
        add_ExperimentationServiceServicer_to_server(servicer, server)

    return serve.App(
        services=[pb.DESCRIPTOR.services_by_name["ExperimentationService"].full_name],
        register=register,
        background=[database.keep_open(), feed.run()],
        components={"postgres": lambda: database.reachable},
        close=[mesh.close, database.close],
    )


def main() -> None:
    settings = config.read(os.environ)
    serve.run(NAME, settings.address, lambda: build(settings))


if __name__ == "__main__":
    main()
