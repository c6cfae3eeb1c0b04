"""The service on a real Postgres, in this process or in one that can be killed, and what a companion delivers to it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_health.v1 import health_pb2, health_pb2_grpc

from libs.channels import open_channel
from libs.interceptors import ServiceInterceptor
from libs.serve import Address, ended
from penstock.accesslog.v1.record_pb2 import HOP_INGRESS, AccessRecord, RecordBatch
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as pb
from penstock.cost_tracking.v1.cost_tracking_service_pb2_grpc import CostTrackingServiceStub
from penstock.cost_tracking.v1.price_pb2 import METER_COMPUTE_SECOND, METER_REQUEST, Price
from services.cost_tracking.__main__ import build
from services.cost_tracking.config import Config
from tests.polling import eventually_async

NOON = 1_795_262_400
UPSTREAM_US = 2_500_000
# a request at 1500 and 2.5 seconds at 200 each
EACH = 2_000
NOBODY = "127.0.0.1:1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Process:
    """The service as a process of its own: killed and started again at will, always at the same address."""

    dsn: str
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)

    def start(self) -> None:
        variables = {
            **os.environ,
            "PENSTOCK_LISTEN": self.address,
            "PENSTOCK_METRICS_PORT": str(self.metrics_port),
            "PENSTOCK_POSTGRES_DSN": self.dsn,
            "PENSTOCK_MESH_ADDRESS": NOBODY,
            "PENSTOCK_ENVOY_ADMIN": NOBODY,
        }
        self._process = subprocess.Popen([sys.executable, "-m", "services.cost_tracking"], env=variables)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def process(dsn: str):
    """A process and a client of it; it need not serve yet."""
    service = Process(dsn)
    service.start()
    client = Client(service.address, dsn)
    try:
        yield service, client
    finally:
        await client.channel.close()
        service.kill()


@asynccontextmanager
async def replica(dsn: str, mesh: str = NOBODY, envoy_admin: str = NOBODY):
    """The service in this process, as its composition root builds it; a client of it."""
    app = await build(Config(Address("127.0.0.1:0", 0), dsn, mesh, envoy_admin))
    server = grpc.aio.server(interceptors=[ServiceInterceptor()])
    app.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    background = [asyncio.create_task(work) for work in app.background]
    client = Client(f"127.0.0.1:{port}", dsn)
    await eventually_async(lambda: all(up() for up in app.components.values()), message="every component is up")
    yield client
    await client.channel.close()
    await server.stop(0)
    await ended(background)
    for close in app.close:
        await close()


async def healthy(channel) -> bool:
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=1)
    return answer.status == health_pb2.HealthCheckResponse.SERVING


class Client:
    """The service's stub, its database behind it, and a companion that never gives up."""

    def __init__(self, address: str, dsn: str) -> None:
        self._dsn = dsn
        self.channel = open_channel(address)
        self.costs = CostTrackingServiceStub(self.channel)

    async def ready(self) -> None:
        await eventually_async(lambda: healthy(self.channel), within=30, message="cost_tracking serves")

    async def price(self, meter, nanodollars: str, **scope) -> Price:
        made = Price(meter=meter, nanodollars_per_unit=nanodollars, effective_from=Timestamp(seconds=NOON), **scope)
        return (await self.costs.CreatePrice(pb.CreatePriceRequest(price=made))).price

    async def two_prices(self) -> None:
        await self.price(METER_REQUEST, "1500")
        await self.price(METER_COMPUTE_SECOND, "200")

    async def deliver(self, *records: AccessRecord, **change) -> int:
        delivered = pb.DeliverRecordsRequest(batch=batch(*records, **change))
        return (await self.costs.DeliverRecords(delivered, timeout=30)).committed_offset

    async def deliver_at_last(self, *records: AccessRecord, **change) -> int:
        """As the companion does: again until it is acknowledged. Returns how many times it was not."""
        failures = 0
        while True:
            try:
                await self.deliver(*records, **change)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                failures += 1
                await asyncio.sleep(0.02)
            else:
                return failures

    async def spend(self, *dimensions: int, **question) -> pb.GetSpendResponse:
        return await self.costs.GetSpend(pb.GetSpendRequest(group_by=dimensions, **question))

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self._dsn, server_settings={"search_path": "cost_tracking"})

    async def query(self, sql: str, *values):
        connection = await self.connect()
        try:
            return await connection.fetch(sql, *values)
        finally:
            await connection.close()

    async def charged_once_each(self, requests: int) -> None:
        """Exactly so many are charged, each in full, in the sums as in the ledger itself."""
        answer = await self.spend()
        assert answer.rows[0].requests == requests
        assert answer.total_nanodollars == requests * EACH
        entries = await self.query("SELECT count(DISTINCT usage_id) AS n, sum(nanodollars) AS money FROM entry")
        assert (entries[0]["n"], entries[0]["money"]) == (requests, requests * EACH)
        assert await self.query(SUMS_THAT_DIFFER) == []


SUMS_THAT_DIFFER = """
WITH anew AS (
    SELECT date_trunc('hour', start_time, 'UTC') AS hour, tenant, model, version, experiment, variant, hop, outcome,
           count(*) AS usages, sum(upstream_us) AS compute_us, sum(coalesce(charged, 0)) AS nanodollars,
           count(*) FILTER (WHERE outcome IN ('billed', 'mirrored') AND charged IS NULL) AS unpriced
    FROM usage LEFT JOIN (SELECT usage_id, sum(nanodollars) AS charged FROM entry GROUP BY 1) AS e ON usage_id = id
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8)
(SELECT * FROM anew EXCEPT SELECT * FROM usage_hour) UNION ALL (SELECT * FROM usage_hour EXCEPT SELECT * FROM anew)
"""


def record(name: str, second: int = 0, **change) -> AccessRecord:
    said = {
        "request_id": name,
        "hop": HOP_INGRESS,
        "start_time": Timestamp(seconds=NOON + second),
        "upstream_us": UPSTREAM_US,
        "tenant": "acme",
        "model": "flight-delay",
        "version": "1",
        "http_status": 200,
        "attempts": 1,
        "upstream_host": "127.0.0.1:8001",
        "reached_server": True,
    }
    return AccessRecord(**{**said, **change})


def batch(*records: AccessRecord, start: int = 0, end: int = 0, file: str = "f", **change) -> RecordBatch:
    end = end or start + len(records)
    return RecordBatch(proxy="envoy", file=file, start_offset=start, end_offset=end, records=records, **change)


@pytest.fixture
async def client(fresh_database):
    async with replica(fresh_database) as client:
        yield client


@pytest.fixture
async def another(fresh_database, client):
    """A second replica on the same database."""
    async with replica(fresh_database) as other:
        yield other
