"""cost_tracking's intake beside a bare INSERT, GetSpend beside a grouping of the ledger: `make bench NAME=cost_intake`.

A real service process and a real Postgres with fsync. Records come over gRPC in batches, as the companion sends them;
the bare INSERT puts the same rows under the same unique key, in the same batches, and nothing else: no pricing, no two
ledger entries for each, no sums, no offset. Rounds alternate. What was delivered must have been charged once.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
from google.protobuf.timestamp_pb2 import Timestamp

from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from libs.channels import open_channel
from penstock.accesslog.v1.record_pb2 import HOP_INGRESS, AccessRecord, RecordBatch
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as pb
from penstock.cost_tracking.v1.cost_tracking_service_pb2_grpc import CostTrackingServiceStub
from penstock.cost_tracking.v1.price_pb2 import METER_COMPUTE_SECOND, METER_REQUEST, Price
from penstock.cost_tracking.v1.spend_pb2 import DIMENSION_DAY, DIMENSION_MODEL, DIMENSION_TENANT, DIMENSION_VERSION

ROUNDS = 5
BATCHES = 4
BATCH = 5_000
BEGIN = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
SECONDS = 10 * 86_400
BARE = "CREATE TABLE bare (LIKE cost_tracking.usage INCLUDING IDENTITY, UNIQUE (request_id, hop))"
INSERT_BARE = """
INSERT INTO bare (request_id, hop, outcome, start_time, tenant, principal, model, version, experiment, variant,
    degraded, grpc_status, http_status, attempts, reached_server, server, upstream_us, bytes_in, bytes_out)
SELECT r, 'ingress', 'billed', s, t, '', m, v, '', '', '', 0, 200, 1, true, '127.0.0.1:8001', u, 300, 200
FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::bigint[]) AS row(r, s, t, m, v, u)
ON CONFLICT DO NOTHING
"""
GROUPED = """
SELECT tenant, model, version, (start_time AT TIME ZONE 'UTC')::date, count(*), sum(upstream_us), sum(charged)
FROM cost_tracking.usage
JOIN (SELECT usage_id, sum(nanodollars) AS charged FROM cost_tracking.entry GROUP BY 1) AS e ON usage_id = id
GROUP BY 1, 2, 3, 4
"""


def records(count: int, first: int) -> list[AccessRecord]:
    return [
        AccessRecord(
            request_id=str(uuid.uuid4()),
            hop=HOP_INGRESS,
            start_time=Timestamp(seconds=BEGIN + (first + n) * SECONDS // (ROUNDS * BATCHES * BATCH)),
            upstream_us=1_000 + n % 7_000,
            tenant=f"tenant-{n % 5}",
            model=f"model-{n % 3}",
            version=str(n % 2 + 1),
            http_status=200,
            attempts=1,
            upstream_host="127.0.0.1:8001",
            bytes_in=300,
            bytes_out=200,
            reached_server=True,
        )
        for n in range(count)
    ]


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def intake(costs: CostTrackingServiceStub, postgres: asyncpg.Connection) -> tuple[list[float], list[float]]:
    """Seconds of each round: delivered, and inserted bare."""
    delivered: list[float] = []
    inserted: list[float] = []
    for number in range(ROUNDS):
        first = number * BATCHES * BATCH
        batches = [records(BATCH, first + n * BATCH) for n in range(BATCHES)]

        async def deliver(batches: list[list[AccessRecord]] = batches, first: int = first) -> None:
            for n, batch in enumerate(batches):
                start = first + n * BATCH
                said = RecordBatch(proxy="bench", file="f", start_offset=start, end_offset=start + BATCH, records=batch)
                await costs.DeliverRecords(pb.DeliverRecordsRequest(batch=said), timeout=60)

        async def insert(batches: list[list[AccessRecord]] = batches) -> None:
            for batch in batches:
                rows = [
                    (r.request_id, r.start_time.ToDatetime(UTC), r.tenant, r.model, r.version, r.upstream_us)
                    for r in batch
                ]
                await postgres.execute(INSERT_BARE, *zip(*rows, strict=True))

        delivered.append(await seconds(deliver))
        inserted.append(await seconds(insert))
    return delivered, inserted


async def sums(costs: CostTrackingServiceStub, postgres: asyncpg.Connection) -> tuple[float, float]:
    """Median seconds of GetSpend by tenant, model, version and day, and of grouping the ledger."""
    dimensions = [DIMENSION_TENANT, DIMENSION_MODEL, DIMENSION_VERSION, DIMENSION_DAY]
    asked = pb.GetSpendRequest(group_by=dimensions)
    answered = [await seconds(lambda: costs.GetSpend(asked)) for _ in range(ROUNDS)]
    grouped = [await seconds(lambda: postgres.fetch(GROUPED)) for _ in range(ROUNDS)]
    return statistics.median(answered), statistics.median(grouped)


async def measure(address: str, dsn: str) -> int:
    postgres = await asyncpg.connect(dsn)
    async with open_channel(address) as channel:
        await asyncio.wait_for(channel.channel_ready(), 30)
        costs = CostTrackingServiceStub(channel)
        for meter in (METER_REQUEST, METER_COMPUTE_SECOND):
            price = Price(meter=meter, nanodollars_per_unit="1234.5678", effective_from=Timestamp(seconds=BEGIN))
            await costs.CreatePrice(pb.CreatePriceRequest(price=price), wait_for_ready=True)
        await postgres.execute(BARE)
        delivered, inserted = await intake(costs, postgres)
        charged = (await costs.GetSpend(pb.GetSpendRequest())).rows[0].requests
        answered, grouped = await sums(costs, postgres)
    await postgres.close()
    each = BATCHES * BATCH
    rate, bare = each / statistics.median(delivered), each / statistics.median(inserted)
    print(f"{'records/s delivered, priced and booked':45} {rate:10,.0f}")
    print(f"{'records/s inserted bare':45} {bare:10,.0f}")
    print(f"{f'ms GetSpend over {charged:,} inferences':45} {answered * 1000:10.1f}")
    print(f"{'ms grouping the ledger':45} {grouped * 1000:10.1f}")
    figures = {
        "records_per_second": round(rate),
        "ratio_to_bare_insert": round(rate / bare, 3),
        "get_spend_to_grouping": round(answered / grouped, 4),
    }
    print(json.dumps(figures))
    return 0 if charged == ROUNDS * each else 1


def main() -> int:
    ports = Ports.free()
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        stack = Stack(Places.of(Path(folder)), ports, ("postgres",))
        stack.start(parent=os.getpid())
        address = f"127.0.0.1:{ports['cost_tracking']}"
        nobody = "127.0.0.1:1"
        variables = {
            "PENSTOCK_LISTEN": address,
            "PENSTOCK_POSTGRES_DSN": stack.postgres_dsn,
            "PENSTOCK_MESH_ADDRESS": nobody,
            "PENSTOCK_ENVOY_ADMIN": nobody,
        }
        service = subprocess.Popen([sys.executable, "-m", "services.cost_tracking"], env={**os.environ, **variables})
        try:
            return asyncio.run(measure(address, stack.postgres_dsn))
        finally:
            service.terminate()
            service.wait()
            stack.stop()
            stack.remove()


if __name__ == "__main__":
    sys.exit(main())
