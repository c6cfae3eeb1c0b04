"""Prices and spend over gRPC: what is answered, and what is refused with which words."""

import asyncio

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from libs.statuses import reason_of
from penstock.accesslog.v1.record_pb2 import RecordBatch
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as pb
from penstock.cost_tracking.v1.price_pb2 import METER_COMPUTE_SECOND, METER_REQUEST, Price
from penstock.cost_tracking.v1.spend_pb2 import (
    DIMENSION_DAY,
    DIMENSION_MODEL,
    DIMENSION_TENANT,
    DIMENSION_UNSPECIFIED,
    DIMENSION_VARIANT,
    DIMENSION_VERSION,
)
from tests.integration.cost_tracking.conftest import EACH, NOON, record

DAY = 86_400
FAR = NOON + 10_000 * DAY


async def refused(call, request):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(request)
    return raised.value


def faults(error):
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    found = BadRequest()
    assert any(detail.Unpack(found) for detail in rpc_status.from_call(error).details)
    return [violation.field for violation in found.field_violations]


def price(**change):
    said = {"meter": METER_REQUEST, "nanodollars_per_unit": "1.50", "effective_from": Timestamp(seconds=NOON)}
    return Price(**{**said, **change})


async def create(client, request_id="", **change):
    made = pb.CreatePriceRequest(request_id=request_id, price=price(**change))
    return (await client.costs.CreatePrice(made)).price


async def test_a_price_is_answered_as_it_is_stored(client):
    made = await create(client, model="m", version="2", effective_to=Timestamp(seconds=FAR, nanos=1_999))
    assert (made.meter, made.model, made.version, made.nanodollars_per_unit) == (METER_REQUEST, "m", "2", "1.5")
    assert (made.effective_from.seconds, made.effective_to.nanos) == (NOON, 1_000)
    assert made.id
    assert made.HasField("create_time")
    assert list((await client.costs.ListPrices(pb.ListPricesRequest())).prices) == [made]


async def test_every_fault_of_a_price_is_told_at_once(client):
    error = await refused(client.costs.CreatePrice, pb.CreatePriceRequest(price=Price(version="1")))
    told = ["price.meter", "price.version", "price.nanodollars_per_unit", "price.effective_from"]
    assert faults(error) == told


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"meter": 9}, "price.meter"),
        ({"nanodollars_per_unit": "-1"}, "price.nanodollars_per_unit"),
        ({"nanodollars_per_unit": "1e3"}, "price.nanodollars_per_unit"),
        ({"nanodollars_per_unit": "NaN"}, "price.nanodollars_per_unit"),
        ({"effective_from": Timestamp(seconds=2**60)}, "price.effective_from"),
        ({"effective_to": Timestamp(seconds=NOON)}, "price.effective_to"),
        ({"model": "a\0"}, "price.model"),
    ],
)
async def test_a_bad_price_is_refused(client, change, field):
    assert faults(await refused(client.costs.CreatePrice, pb.CreatePriceRequest(price=price(**change)))) == [field]
    assert not (await client.costs.ListPrices(pb.ListPricesRequest())).prices


async def test_an_overlapping_price_is_refused_and_names_the_other(client):
    there = await create(client, model="m")
    error = await refused(client.costs.CreatePrice, pb.CreatePriceRequest(price=price(model="m")))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.ALREADY_EXISTS, "PRICE_OVERLAP")
    assert there.id in error.details()


async def test_of_many_that_overlap_at_two_replicas_one_is_created(client, another):
    requests = [pb.CreatePriceRequest(price=price(effective_from=Timestamp(seconds=NOON + n))) for n in range(12)]
    calls = [(client, another)[n % 2].costs.CreatePrice(request) for n, request in enumerate(requests)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    created = [answer for answer in answers if isinstance(answer, pb.CreatePriceResponse)]
    assert [reason_of(a) for a in answers if a not in created] == ["PRICE_OVERLAP"] * 11
    assert list((await client.costs.ListPrices(pb.ListPricesRequest())).prices) == [created[0].price]


async def test_a_mutation_that_is_sent_twice_is_done_once(client):
    first = await create(client, request_id="once")
    assert await create(client, request_id="once") == first
    error = await refused(
        client.costs.CreatePrice, pb.CreatePriceRequest(request_id="once", price=price(nanodollars_per_unit="2"))
    )
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    ending = pb.EndPriceRequest(request_id="end", id=first.id, effective_to=Timestamp(seconds=FAR))
    assert await client.costs.EndPrice(ending) == await client.costs.EndPrice(ending)


async def test_a_price_ends_once_and_makes_room_for_the_next(client):
    made = await create(client)
    ended = await client.costs.EndPrice(pb.EndPriceRequest(id=made.id, effective_to=Timestamp(seconds=FAR)))
    assert ended.price.effective_to.seconds == FAR
    again = pb.EndPriceRequest(id=made.id, effective_to=Timestamp(seconds=FAR + 1))
    assert faults(await refused(client.costs.EndPrice, again)) == ["id"]
    await create(client, effective_from=Timestamp(seconds=FAR))


async def test_of_two_ends_at_once_one_counts(client, another):
    made = await create(client)
    ends = [pb.EndPriceRequest(id=made.id, effective_to=Timestamp(seconds=FAR + n)) for n in range(8)]
    calls = [(client, another)[n % 2].costs.EndPrice(end) for n, end in enumerate(ends)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    (ended,) = [answer.price for answer in answers if isinstance(answer, pb.EndPriceResponse)]
    assert list((await client.costs.ListPrices(pb.ListPricesRequest())).prices) == [ended]


async def test_an_end_needs_a_price_and_a_time_to_come(client):
    made = await create(client)
    assert faults(await refused(client.costs.EndPrice, pb.EndPriceRequest())) == ["id", "effective_to"]
    past = pb.EndPriceRequest(id=made.id, effective_to=Timestamp(seconds=NOON - 1))
    assert set(faults(await refused(client.costs.EndPrice, past))) == {"effective_to"}
    for unknown in ("no-such-price", "00000000-0000-0000-0000-000000000000"):
        error = await refused(
            client.costs.EndPrice, pb.EndPriceRequest(id=unknown, effective_to=Timestamp(seconds=FAR))
        )
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.NOT_FOUND, "PRICE_NOT_FOUND")


async def test_prices_are_listed_page_by_page(client):
    meters = (METER_COMPUTE_SECOND, METER_REQUEST)
    made = [await create(client, meter=meter, model=f"m{n}") for meter in meters for n in range(5)]
    got, token = [], ""
    while True:
        answer = await client.costs.ListPrices(pb.ListPricesRequest(page_size=3, page_token=token))
        assert len(answer.prices) <= 3
        got += answer.prices
        token = answer.next_page_token
        if not token:
            break
    assert [p.id for p in got] == [p.id for p in made]
    for token in ("nonsense", "WyJ4Il0="):
        error = await refused(client.costs.ListPrices, pb.ListPricesRequest(page_token=token))
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


async def test_spend_by_every_dimension_filter_and_time(client):
    await client.two_prices()
    await client.deliver(
        record("a", 0, version="1", experiment="e", variant="x"),
        record("b", 60, version="2", tenant="zeta"),
        record("c", DAY, version="2", model="other"),
    )

    async def groups(*dimensions, **question):
        answer = await client.spend(*dimensions, **question)
        assert answer.total_nanodollars == sum(row.nanodollars for row in answer.rows)
        return [(*row.group, row.requests) for row in answer.rows]

    assert await groups(DIMENSION_TENANT) == [("acme", 2), ("zeta", 1)]
    assert await groups(DIMENSION_DAY, DIMENSION_VERSION) == [
        ("2026-11-21", "1", 1),
        ("2026-11-21", "2", 1),
        ("2026-11-22", "2", 1),
    ]
    assert await groups(DIMENSION_VARIANT) == [("", 2), ("e/x", 1)]
    assert await groups(DIMENSION_MODEL, tenant="acme") == [("flight-delay", 1), ("other", 1)]
    assert await groups(model="other") == [(1,)]
    assert await groups(to=Timestamp(seconds=NOON + 60)) == [(1,)]
    later = {"from": Timestamp(seconds=NOON + 60), "to": Timestamp(seconds=NOON + DAY)}
    assert await groups(DIMENSION_VERSION, **later) == [("2", 1)]
    assert await groups(DIMENSION_TENANT, tenant="nobody") == []
    whole = await client.spend()
    assert (whole.rows[0].compute_us, whole.total_nanodollars) == (7_500_000, 3 * EACH)


async def test_a_question_without_sense_is_refused(client):
    asked = pb.GetSpendRequest(
        group_by=[DIMENSION_DAY, DIMENSION_UNSPECIFIED, DIMENSION_DAY, 77],
        tenant="\0",
        **{"from": Timestamp(seconds=5), "to": Timestamp(seconds=5)},
    )
    told = ["group_by[1]", "group_by[2]", "group_by[3]", "to", "tenant"]
    assert faults(await refused(client.costs.GetSpend, asked)) == told


async def test_more_groups_than_fit_ask_for_a_smaller_question(client):
    await client.deliver(*(record(f"r{n}", model=f"m{n:05}") for n in range(10_001)))
    error = await refused(client.costs.GetSpend, pb.GetSpendRequest(group_by=[DIMENSION_MODEL]))
    assert faults(error) == ["group_by"]
    assert (await client.spend(DIMENSION_MODEL, model="m00007")).rows[0].requests == 1


async def test_a_batch_that_says_not_which_lines_it_holds_is_refused(client):
    bad = pb.DeliverRecordsRequest(batch=RecordBatch(start_offset=2, end_offset=1, records=[record("r")]))
    told = ["batch.proxy", "batch.file", "batch.end_offset"]
    assert faults(await refused(client.costs.DeliverRecords, bad)) == told
    assert (await client.spend()).rows[0].requests == 0


async def test_an_absurd_price_is_refused_and_the_intake_goes_on(client):
    """Stored, the first of these stopped every delivery."""
    for seconds in (-62_135_596_800, 253_402_300_800):
        made = price(effective_from=Timestamp(seconds=seconds))
        error = await refused(client.costs.CreatePrice, pb.CreatePriceRequest(price=made))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    await client.deliver(record("after-absurd-prices"))
    await client.costs.GetSpend(pb.GetSpendRequest(**{"from": Timestamp(seconds=253_402_300_799)}))
