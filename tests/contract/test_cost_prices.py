"""What a store of prices promises, run on every store: two prices of one scope never overlap."""

import asyncio
from dataclasses import replace
from uuid import uuid4

import pytest

from libs.errors import AlreadyExists, Invalid, NotFound
from libs.paging import page
from services.cost_tracking.domain.price import Meter
from tests.contract.cost_books import DAY, HOUR, NOON, books, in_memory, in_postgres, price, span

__all__ = ["books", "in_memory", "in_postgres"]


async def listed(books, size=100):
    return [p.id for p in await books.prices.page(page(size, ""))]


class TestPrices:
    async def test_what_is_added_can_be_taken(self, books):
        made = price(effective_to=NOON + DAY)
        await books.prices.add(made)
        assert await books.prices.take(made.id) == made

    @pytest.mark.parametrize("unknown", [str(uuid4()), "no-uuid", ""])
    async def test_what_is_not_there_is_not_found(self, books, unknown):
        with pytest.raises(NotFound) as raised:
            await books.prices.take(unknown)
        assert raised.value.reason == "PRICE_NOT_FOUND"

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ((0, None), (0, None)),
            ((0, None), (5, 6)),
            ((0, None), (-5, None)),
            ((0, 2), (1, 3)),
            ((0, 3), (1, 2)),
            ((1, 2), (0, 3)),
            ((0, 2), (-1, None)),
        ],
    )
    async def test_overlapping_prices_of_one_scope_are_refused_by_name(self, books, first, second):
        there, refused = (price(**span(hours)) for hours in (first, second))
        await books.prices.add(there)
        with pytest.raises(AlreadyExists) as raised:
            await books.prices.add(refused)
        assert (raised.value.reason, raised.value.metadata) == ("PRICE_OVERLAP", {"price": there.id})
        assert await listed(books) == [there.id]

    async def test_a_price_may_follow_another_without_a_gap(self, books):
        made = [price(**span(hours)) for hours in ((0, 2), (2, 4), (-3, 0), (4, None))]
        for one in made:
            await books.prices.add(one)
        in_order = sorted(made, key=lambda p: p.effective_from)
        assert await listed(books) == [p.id for p in in_order]

    async def test_other_scopes_have_prices_of_their_own(self, books):
        scopes = [("m", "1"), ("m", ""), ("", ""), ("M", ""), ("m", "2"), ("n", "")]
        for meter in Meter:
            for model, version in scopes:
                await books.prices.add(price(meter=meter, model=model, version=version))
        assert len(await listed(books)) == 12

    async def test_an_ended_price_makes_room(self, books):
        made = price()
        await books.prices.add(made)
        ended = replace(await books.prices.take(made.id), effective_to=NOON + DAY)
        await books.prices.end(ended)
        assert await books.prices.take(made.id) == ended
        await books.prices.add(price(effective_from=NOON + DAY))

    async def test_of_many_that_overlap_at_once_one_is_there(self, books):
        made = [price(effective_from=NOON - n * HOUR) for n in range(8)]
        results = await asyncio.gather(*(books.prices.add(one) for one in made), return_exceptions=True)
        refused = [r for r in results if r is not None]
        assert {(type(r), r.reason) for r in refused} == {(AlreadyExists, "PRICE_OVERLAP")}
        (there,) = await listed(books)
        assert {r.metadata["price"] for r in refused} == {there}

    async def test_pages_go_by_meter_model_version_time_by_code_point(self, books):
        scopes = [("a", "10"), ("a", "9"), ("B", ""), ("a_c", ""), ("a-c", "")]
        made = [
            price(meter=meter, model=model, version=version, **span(hours))
            for meter in Meter
            for model, version in scopes
            for hours in ((2, None), (0, 2))
        ]
        for one in made:
            await books.prices.add(one)
        got, after = [], ()
        while True:
            asked = replace(page(3, ""), after=after)
            kept, token = asked.split(await books.prices.page(asked), lambda p: (p.id,))
            got += kept
            if not token:
                break
            after = (kept[-1].id,)
        assert [p.id for p in got] == [
            p.id for p in sorted(made, key=lambda p: (p.meter, p.model, p.version, p.effective_from))
        ]

    @pytest.mark.parametrize("token", [str(uuid4()), "no-uuid"])
    async def test_a_page_after_nothing_is_refused(self, books, token):
        with pytest.raises(Invalid) as raised:
            await books.prices.page(replace(page(3, ""), after=(token,)))
        assert raised.value.reason == "INVALID_PAGE_TOKEN"

    async def test_in_force_is_what_counts_in_the_span(self, books):
        parts = [price(**span(hours)) for hours in ((0, 2), (2, 4), (4, None))]
        for one in parts:
            await books.prices.add(one)

        async def found(first, last, hour):
            catalogue = await books.prices.in_force(NOON + first * HOUR, NOON + last * HOUR)
            at = catalogue.find(Meter.REQUEST, "m", "1", NOON + hour * HOUR)
            return at and at.id

        assert await found(1, 1, 1) == parts[0].id
        assert await found(2, 2, 2) == parts[1].id
        assert await found(1, 9, 4) == parts[2].id
        assert await found(-2, -1, 1) is None
        assert await found(2, 3, 1) is None
