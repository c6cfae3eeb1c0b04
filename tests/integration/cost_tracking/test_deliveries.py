"""Every inference is charged once, whatever happens between Envoy's file and Postgres."""

import asyncio
import re
from itertools import pairwise
from random import Random
from urllib.request import urlopen

import asyncpg
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from prometheus_client.parser import text_string_to_metric_families

from libs.statuses import reason_of
from penstock.accesslog.v1.record_pb2 import HOP_MESH, HOP_MIRROR
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as pb
from penstock.cost_tracking.v1.price_pb2 import METER_COMPUTE_SECOND, METER_REQUEST
from penstock.cost_tracking.v1.spend_pb2 import DIMENSION_TENANT
from tests.conftest import running
from tests.integration.cost_tracking.conftest import NOON, process, record, replica
from tests.polling import eventually_async

COUNTERS = "penstock_(ledger|usage|unpriced|record|set_aside)_.*_total"


def metrics(service):
    text = urlopen(f"http://127.0.0.1:{service.metrics_port}/metrics").read().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, *s.labels.values()): s.value for s in samples if re.fullmatch(COUNTERS, s.name)}


async def test_a_batch_that_comes_again_is_acknowledged_and_charged_once(client):
    await client.two_prices()
    records = [record(f"r{n}", n) for n in range(50)]
    assert [await client.deliver(*records) for _ in range(3)] == [50, 50, 50]
    await client.charged_once_each(50)


async def test_batches_that_overlap_are_charged_once(client):
    await client.two_prices()
    records = [record(f"r{n}", n) for n in range(100)]
    for start, end in ((0, 40), (20, 60), (60, 100), (0, 100)):
        await client.deliver(*records[start:end], start=start)
    await client.charged_once_each(100)


async def test_two_companions_at_two_replicas_deliver_the_same_at_once(client, another):
    await client.two_prices()
    records = [record(f"r{n}", n * 60) for n in range(2_000)]

    async def companion(replica, seed):
        random = Random(seed)
        cuts = sorted({0, 2_000, *(random.randrange(2_000) for _ in range(9))})
        parts = list(pairwise(cuts))
        random.shuffle(parts)
        for start, end in parts:
            await replica.deliver(*random.sample(records[start:end], end - start), start=start, end=end)

    await asyncio.gather(*(companion(replica, seed) for seed in range(4) for replica in (client, another)))
    await client.charged_once_each(2_000)


@pytest.mark.parametrize("table", ["price", "usage", "entry", "usage_hour", "set_aside", "log_file"])
async def test_a_connection_that_dies_in_the_middle_of_a_batch_leaves_nothing_of_it(client, table):
    """The lock stops the batch at this table's statement; there its connection is killed."""
    await client.two_prices()
    records = [*(record(f"r{n}", n) for n in range(100)), record("r1", tenant="other")]
    connection = await client.connect()
    async with connection.transaction():
        await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        delivering = asyncio.create_task(client.deliver(*records))
        waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        pid = await eventually_async(lambda: connection.fetchval(waiting), message=f"the batch is at {table}")
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await delivering
    await connection.close()
    assert (raised.value.code(), reason_of(raised.value)) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
    assert await client.query("SELECT FROM usage UNION ALL SELECT FROM log_file") == []
    await client.deliver_at_last(*records)
    await client.charged_once_each(100)


async def test_a_service_that_is_killed_while_it_commits_is_sent_everything_again(fresh_database):
    records = [record(f"r{n}", n) for n in range(6_000)]
    async with process(fresh_database) as (service, client):
        await client.ready()
        await client.two_prices()

        async def deliver_all():
            return [await client.deliver_at_last(*records[n : n + 500], start=n) for n in range(0, 6_000, 500)]

        async def booked(count):
            return (await client.query("SELECT count(*) AS n FROM usage"))[0]["n"] >= count

        delivering = asyncio.create_task(deliver_all())
        for count in (500, 3_000):
            await eventually_async(lambda count=count: booked(count), within=60, message=f"{count} are booked")
            service.kill()
            service.start()
        assert sum(await delivering) > 0
        await client.charged_once_each(6_000)


async def test_without_postgres_nothing_is_acknowledged_and_afterwards_everything_is_charged(tmp_path):
    with running(tmp_path / "down", ("postgres",)) as stack:
        async with replica(stack.postgres_dsn) as client:
            await client.two_prices()
            await client.deliver(record("before"))
            with stack.held_down("postgres"):
                for call in (client.deliver(record("meanwhile"), start=1), client.spend()):
                    with pytest.raises(grpc.aio.AioRpcError) as raised:
                        await call
                    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
                    assert reason_of(raised.value) == "STORE_UNAVAILABLE"
            stack.wait_ready("postgres")
            await client.deliver_at_last(record("meanwhile"), start=1)
            await client.charged_once_each(2)


async def test_a_service_that_starts_before_postgres_serves_once_it_is_there(tmp_path):
    with running(tmp_path / "late", ("postgres",)) as stack:
        stack.hold("postgres")
        async with process(stack.postgres_dsn) as (_, client):
            await asyncio.wait_for(client.channel.channel_ready(), 30)
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await client.deliver(record("r"))
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            stack.release("postgres")
            await client.ready()
            assert await client.deliver(record("r")) == 1


async def test_only_what_a_server_answered_is_charged(client):
    await client.two_prices()
    await client.deliver(
        record("native"),
        record("slow", reached_server=False, upstream_host="127.0.0.1:50053"),
        record("slow", hop=HOP_MESH),
        record("native", hop=HOP_MIRROR),
        record("failed", hop=HOP_MIRROR, grpc_status=14),
        record("failed", grpc_status=14),
        record("gone", grpc_status=1, http_status=0),
        record("refused", grpc_status=5, reached_server=False, upstream_host="", attempts=0),
    )
    await client.charged_once_each(3)
    books = (await client.costs.Reconcile(pb.ReconcileRequest())).reconciliation
    assert (books.records, books.ledger_requests, books.failed_requests, books.passed_requests) == (8, 3, 4, 1)
    payers = (await client.spend(DIMENSION_TENANT)).rows
    assert [(*row.group, row.requests) for row in payers] == [("@mirror", 1), ("acme", 2)]


async def test_records_that_come_late_or_in_no_order_are_priced_at_their_own_time(client):
    old = await client.price(METER_REQUEST, "100")
    change = Timestamp(seconds=NOON + 100_000_000)
    await client.costs.EndPrice(pb.EndPriceRequest(id=old.id, effective_to=change))
    await client.costs.CreatePrice(
        pb.CreatePriceRequest(price={"meter": METER_REQUEST, "nanodollars_per_unit": "7", "effective_from": change})
    )
    seconds = [100_000_000, 5, 99_999_999, -1, 200_000_000]
    for number, second in enumerate(seconds):
        await client.deliver(record(f"r{number}", second), start=number)
    answer = await client.spend()
    assert (answer.total_nanodollars, answer.rows[0].unpriced_requests) == (7 + 100 + 100 + 7, 1)


async def test_two_contents_for_one_key_are_charged_once_and_both_are_kept(client):
    await client.two_prices()
    await client.deliver(record("r"), record("r", tenant="other"))
    for _ in range(2):
        assert await client.deliver(record("r", upstream_us=1), record(""), start=2, end=9) == 9
    await client.charged_once_each(1)
    aside = await client.query("SELECT reason, content FROM set_aside ORDER BY reason, time")
    assert [row["reason"] for row in aside] == ["conflict", "conflict", "malformed"]
    assert '"tenant": "other"' in aside[0]["content"]


async def test_metrics_count_each_record_once(fresh_database):
    async with process(fresh_database) as (service, client):
        await client.ready()
        await client.price(METER_REQUEST, "1", model="flight-delay")
        for _ in range(2):
            await client.deliver(record("r"), record("s", model="free"), record("t", grpc_status=14), record(""))
        await client.deliver(record("r", upstream_us=1), start=50, unreadable=3)
        assert metrics(service) == {
            ("penstock_ledger_entries_total", "request"): 1,
            ("penstock_usage_records_total", "ingress", "billed"): 2,
            ("penstock_usage_records_total", "ingress", "failed"): 1,
            ("penstock_unpriced_usage_total", "free"): 1,
            ("penstock_usage_repeats_total",): 3,
            ("penstock_record_gaps_total",): 1,
            ("penstock_set_aside_records_total", "conflict"): 1,
            ("penstock_set_aside_records_total", "malformed"): 1,
            ("penstock_set_aside_records_total", "unreadable"): 3,
        }


async def test_the_dearest_line_item_fits_and_stops_nothing(client):
    for meter in (METER_REQUEST, METER_COMPUTE_SECOND):
        await client.price(meter, "1000000000000")
    names = dict.fromkeys(("tenant", "model", "version", "experiment", "variant"), "é" * 128)
    await client.deliver(record("x" * 256, upstream_us=10**12, **names), record("r", bytes_in=2**63 - 1))
    assert (await client.spend()).total_nanodollars == 2 * 10**12 + 10**18 + 2_500_000_000_000


@pytest.mark.parametrize("table", ["usage", "entry", "set_aside"])
@pytest.mark.parametrize("change", ["UPDATE {} SET {} = {}", "DELETE FROM {}", "TRUNCATE {} CASCADE"])
async def test_the_ledger_cannot_be_changed(client, table, change):
    await client.two_prices()
    await client.deliver(record("r"), record("r", tenant="other"))
    column = {"usage": "tenant", "entry": "nanodollars", "set_aside": "content"}[table]
    with pytest.raises(asyncpg.RestrictViolationError, match="append-only"):
        await client.query(change.format(table, column, column))
    await client.charged_once_each(1)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE price SET nanodollars_per_unit = 1",
        "UPDATE price SET effective_from = effective_from - interval '1 day', effective_to = '2099-01-01'",
        "UPDATE price SET effective_to = NULL",
        "DELETE FROM price",
        "TRUNCATE price CASCADE",
    ],
)
async def test_a_price_cannot_be_changed(client, change):
    await client.two_prices()
    with pytest.raises(asyncpg.RestrictViolationError):
        await client.query(change)
    await client.deliver(record("r"))
    await client.charged_once_each(1)
