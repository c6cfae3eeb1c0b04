"""python -m services.health_monitoring"""

import os
from pathlib import Path

import grpc

from libs import serve
from libs.channels import open_channel
from libs.clock import SystemClock
from libs.http_listener import Listener
from libs.postgres import Database
from libs.watch import Publisher
from penstock.health_monitoring.v1 import health_monitoring_service_pb2 as pb
from penstock.health_monitoring.v1 import health_monitoring_service_pb2_grpc as pb_grpc
from penstock.health_monitoring.v1.health_pb2 import TargetHealth
from services.health_monitoring import config
from services.health_monitoring.clients.fleet import FleetWatch
from services.health_monitoring.clients.probes import prober
from services.health_monitoring.domain.allowance import Allowance
from services.health_monitoring.domain.belief import Thresholds
from services.health_monitoring.domain.calls import CallRules
from services.health_monitoring.domain.journal import Journal
from services.health_monitoring.domain.monitor import Monitor
from services.health_monitoring.domain.overall import overall
from services.health_monitoring.domain.probing import Probing, Rhythm
from services.health_monitoring.domain.roster import Roster
from services.health_monitoring.domain.target import service
from services.health_monitoring.domain.weighing import WeighingRules
from services.health_monitoring.servers.access_log import SERVICE, AccessLogServicer
from services.health_monitoring.servers.health import HealthMonitoringServicer
from services.health_monitoring.servers.overall import application
from services.health_monitoring.servers.publication import Publication
from services.health_monitoring.store import PostgresStore

NAME = "health_monitoring"
MIGRATIONS = Path(__file__).parent / "migrations"
LOG_SHARE = 0.2


async def build(settings: config.Config) -> serve.App:
    clock = SystemClock()
    database = Database(settings.postgres_dsn, NAME, MIGRATIONS)
    store = PostgresStore(database)
    mesh = open_channel(settings.mesh_address)
    publisher = Publisher[TargetHealth]()
    publication = Publication(publisher)
    journal = Journal()
    monitor = Monitor(Thresholds(), CallRules(), journal, lambda: publication.soon(monitor), WeighingRules())
    probing = Probing(prober(clock), Rhythm(settings.probe_interval, settings.probe_timeout), monitor.probed)
    services = [service(name, address) for name, address in settings.services.items()]
    roster = Roster(services, monitor, probing.watch, clock.now)
    servicer = HealthMonitoringServicer(monitor, store, publisher, clock)

    everything = application(lambda: overall(monitor.healths(), informed=monitor.informed))
    http = Listener(everything, settings.http_listen)

    async def follow_fleet() -> None:
        await roster.restore(store)
        await FleetWatch(mesh, roster.fleet).run()

    def register(server: grpc.aio.Server) -> None:
        pb_grpc.add_HealthMonitoringServiceServicer_to_server(servicer, server)
        AccessLogServicer(monitor, clock, Allowance(LOG_SHARE)).add_to(server)

    return serve.App(
        services=[pb.DESCRIPTOR.services_by_name["HealthMonitoringService"].full_name, SERVICE],
        register=register,
        background=[
            database.keep_open(),
            probing.run(),
            follow_fleet(),
            monitor.judge_calls_every_second(clock),
            monitor.weigh_every_step(clock),
            journal.keep(store, monitor.remembered, clock.now),
            http.run(),
        ],
        # until the first round of probes there is nothing to say; Postgres may be down
        components={"first round of probes": lambda: monitor.informed},
        close=[http.close, mesh.close, database.close],
    )


def main() -> None:
    settings = config.read(os.environ)
    serve.run(NAME, settings.address, lambda: build(settings))


if __name__ == "__main__":
    main()
