"""python -m services.model_serving"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc

from libs import idempotency, serve
from libs.channels import open_channel
from libs.clock import SystemClock
from libs.http_listener import Listener
from libs.postgres import Database
from libs.workers import run_workers
from services.model_serving import config
from services.model_serving.clients import experiments, features, inference, routing, triton
from services.model_serving.domain.catalogue import Catalogue
from services.model_serving.domain.control import ServerLoop
from services.model_serving.domain.deployment import Server
from services.model_serving.domain.fleet import Fleet
from services.model_serving.domain.loading import Loader
from services.model_serving.domain.prediction import Predictor
from services.model_serving.servers import deployments, predictions, registry, rest, slow_door
from services.model_serving.servers.door import Door
from services.model_serving.servers.questions import Questions
from services.model_serving.stores import artifacts, placements, repository, rows, servers, versions

NAME = "model_serving"


async def build(settings: config.Config) -> serve.App:
    clock = SystemClock()
    database = Database(settings.postgres_dsn, NAME, Path(__file__).parent / "migrations")
    models, fleet_store = versions.RegistryStore(database), servers.ServerStore(database)
    placed = placements.DeploymentStore(database)
    files = artifacts.ArtifactFolder(settings.artifacts)
    files.sweep(clock.now())
    tritons = triton.TritonChannels()
    catalogue = Catalogue()
    announcer = deployments.Announcer(placed, catalogue)

    async def start(server: Server) -> ServerLoop:
        loader = Loader(files, repository.RepositoryFolders(), settings.backend, await models.registry_id())
        asked = triton.TritonServer(tritons.channel(server.address), server.address)
        return ServerLoop(server, asked, placed, fleet_store, loader, clock.now, settings.drain, deployments.count)

    fleet = Fleet(fleet_store, start, settings.seeds, settings.seed_metrics)
    for woken in (announcer, fleet):
        database.on_notification(rows.CHANGED, lambda _, woken=woken: woken.wake())
    mesh, native = open_channel(settings.mesh_address), open_channel(settings.mesh_address, deadline_seconds=None)
    route = inference.NativeRoute(native)
    routes = routing.Routing(mesh)
    users = (routes, experiments.Experiments(mesh))
    predictor = Predictor(catalogue, models, features.FeatureStore(mesh), route, routes, clock.monotonic)
    door, questions = Door(route), Questions(catalogue, tritons)
    http = Listener(rest.Rest(door, questions).application(), settings.http_listen)
    once, once_after = partial(idempotency.once, database), partial(idempotency.once_after, database)

    def register(server: grpc.aio.Server) -> None:
        registry.ModelRegistry(models, files, once, clock).add_to(server)
        deployments.DeploymentServer(
            fleet_store, placed, announcer.publisher, once, once_after, clock, triton.is_ourselves, users
        ).add_to(server)
        predictions.Predictions(predictor, clock).add_to(server)
        slow_door.SlowDoor(door, questions).add_to(server)

    return serve.App(
        services=[server.SERVICE for server in (registry, deployments, predictions, slow_door)],
        register=register,
        background=[database.keep_open(), fleet.run(), announcer.run(fleet.settled), http.run()],
        components={"deployments": lambda: catalogue.loaded},
        close=[http.close, mesh.close, native.close, tritons.close, database.close],
    )


def main() -> None:
    settings = config.read(os.environ)

    def work(index: int) -> None:
        port = settings.address.metrics_port
        address = replace(settings.address, metrics_port=port + 100 * index if port else 0)
        serve.run(NAME, address, lambda: build(settings))

    run_workers(settings.workers, f"services.{NAME}", work)


if __name__ == "__main__":
    main()
