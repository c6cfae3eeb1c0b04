"""What the books promise, run on every store: charges are posted once, and sums agree with them."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest

from services.cost_tracking.domain.charge import charge
from services.cost_tracking.domain.intake import Batch, SetAside, deliver
from services.cost_tracking.domain.price import Catalogue, Meter
from services.cost_tracking.domain.reconciliation import Tally
from services.cost_tracking.domain.spend import Dimension, Question, Spend
from services.cost_tracking.domain.usage import Hop, Outcome
from tests.contract.cost_books import DAY, HOUR, NOON, USAGE, books, in_memory, in_postgres, price

__all__ = ["books", "in_memory", "in_postgres"]


def batch(*usages, start=0, end=100, file="f", malformed=()):
    return Batch("envoy", file, start, end, usages, malformed)


async def give(books, *usages, **change):
    return await deliver(batch(*usages, **change), books.ledger, books.prices)


class TestLedger:
    async def test_a_charge_is_posted_once_and_read_back_as_it_was(self, books):
        made = price()
        await books.prices.add(made)
        posted = charge(USAGE, Catalogue([made]))
        assert list(await books.ledger.post([posted])) == [("r", "ingress")]
        assert list(await books.ledger.post([posted])) == []
        assert await books.ledger.usages([("r", "ingress"), ("other", "mesh")]) == {("r", "ingress"): USAGE}
        assert await books.sums.spend(Question()) == [Spend((), 1, 2_000_000, 1500, 0)]

    async def test_nothing_posts_nothing(self, books):
        assert list(await books.ledger.post([])) == []
        assert await books.ledger.usages([]) == {}
        assert await books.ledger.set_aside([], "envoy", "f") == []
        assert await books.sums.spend(Question()) == [Spend((), 0, 0, 0, 0)]
        assert await books.sums.tallies(None) == []

    async def test_what_fails_half_way_leaves_nothing(self, books):
        made = price()
        await books.prices.add(made)
        with pytest.raises(RuntimeError):
            async with books.ledger.transaction():
                await books.ledger.post([charge(USAGE, Catalogue([made]))])
                await books.ledger.set_aside([SetAside("malformed", "x")], "envoy", "f")
                await books.ledger.advance("envoy", "f", 0, 100)
                raise RuntimeError
        assert await books.sums.spend(Question()) == [Spend((), 0, 0, 0, 0)]
        assert await books.ledger.usages([USAGE.key]) == {}
        assert await books.ledger.set_aside([SetAside("malformed", "x")], "envoy", "f") == [SetAside("malformed", "x")]
        assert await books.ledger.advance("envoy", "f", 0, 7) == 7

    async def test_a_record_is_set_aside_once(self, books):
        one, other = SetAside("malformed", "x"), SetAside("conflict", "x")
        assert await books.ledger.set_aside([one, one], "envoy", "f") == [one]
        assert await books.ledger.set_aside([one, other], "envoy", "g") == [other]

    @pytest.mark.parametrize(
        ("batches", "committed"),
        [
            ([(0, 10)], [10]),
            ([(0, 10), (10, 30)], [10, 30]),
            ([(0, 10), (0, 10)], [10, 10]),
            ([(0, 10), (5, 30), (0, 20)], [10, 30, 30]),
            # a file that was there before anybody told of it begins where it was first told of
            ([(50, 60), (60, 70)], [60, 70]),
            # bytes 10 to 20 never came: go back there
            ([(0, 10), (20, 30), (10, 30)], [10, 10, 30]),
            ([(0, 0), (0, 5)], [0, 5]),
        ],
    )
    async def test_a_file_is_committed_as_far_as_it_has_no_gap(self, books, batches, committed):
        told = [await books.ledger.advance("envoy", "f", start, end) for start, end in batches]
        assert told == committed

    async def test_files_and_proxies_are_apart(self, books):
        assert await books.ledger.advance("envoy", "f", 0, 10) == 10
        assert await books.ledger.advance("envoy", "g", 0, 20) == 20
        assert await books.ledger.advance("other", "f", 0, 30) == 30


class TestDelivery:
    async def test_a_line_that_comes_again_is_charged_once(self, books):
        await books.prices.add(price())
        usages = [replace(USAGE, request_id=f"r{n}") for n in range(5)]
        first = await give(books, *usages[:3])
        assert (len(first.booked), first.repeats, first.conflicts) == (3, 0, 0)
        second = await give(books, *usages, usages[4], start=0, end=200)
        assert (len(second.booked), second.repeats, second.conflicts, second.committed) == (2, 4, 0, 200)
        assert await books.sums.spend(Question()) == [Spend((), 5, 10_000_000, 7500, 0)]

    async def test_hops_of_one_request_are_apart(self, books):
        await give(books, *(replace(USAGE, hop=hop) for hop in Hop))
        assert await books.sums.tallies(None) == [
            Tally(Hop.INGRESS, Outcome.BILLED, 1),
            Tally(Hop.MESH, Outcome.BILLED, 1),
            Tally(Hop.MIRROR, Outcome.MIRRORED, 1),
        ]

    async def test_one_key_with_two_contents_is_charged_once_and_told_once(self, books):
        await books.prices.add(price())
        other = replace(USAGE, upstream_us=9, tenant="someone else")
        together = await give(books, USAGE, other)
        assert (len(together.booked), together.repeats, together.conflicts) == (1, 0, 1)
        again = await give(books, other, USAGE, replace(USAGE, grpc_status=13))
        assert (len(again.booked), again.repeats, again.conflicts) == (0, 1, 1)
        assert await books.sums.spend(Question()) == [Spend((), 1, 2_000_000, 1500, 0)]

    async def test_what_failed_is_in_the_books_without_a_charge(self, books):
        await books.prices.add(price())
        await give(books, replace(USAGE, grpc_status=14))
        assert await books.sums.spend(Question()) == [Spend((), 0, 0, 0, 0)]
        assert await books.sums.spend(Question((Dimension.MODEL,))) == []
        assert await books.sums.tallies(None) == [Tally(Hop.INGRESS, Outcome.FAILED, 1)]

    async def test_a_price_that_comes_later_changes_nothing_that_is_booked(self, books):
        await give(books, USAGE)
        await books.prices.add(price())
        again = await give(books, USAGE)
        assert again.repeats == 1
        assert await books.sums.spend(Question()) == [Spend((), 1, 2_000_000, 0, 1)]
        await give(books, replace(USAGE, request_id="later"))
        assert await books.sums.spend(Question()) == [Spend((), 2, 4_000_000, 1500, 1)]

    async def test_malformed_records_are_kept_and_the_file_goes_on(self, books):
        delivery = await give(books, malformed=(SetAside("malformed", "x"), SetAside("malformed", "y")), end=50)
        assert (delivery.malformed, delivery.committed, delivery.booked) == (2, 50, ())
        assert (await give(books, malformed=(SetAside("malformed", "x"),))).malformed == 0


class TestSpend:
    async def test_groups_stand_in_the_order_that_was_asked_for(self, books):
        await books.prices.add(price())
        await give(
            books,
            replace(USAGE, request_id="1", tenant="b", version="2", experiment="e", variant="x"),
            replace(USAGE, request_id="2", tenant="B", version="10"),
            replace(USAGE, request_id="3", tenant="b", version="10", start_time=NOON + DAY),
        )

        async def groups(*dimensions):
            return [row.group for row in await books.sums.spend(Question(dimensions))]

        assert await groups(Dimension.VERSION) == [("10",), ("2",)]
        assert await groups(Dimension.TENANT, Dimension.VERSION) == [("B", "10"), ("b", "10"), ("b", "2")]
        assert await groups(Dimension.VARIANT) == [("",), ("e/x",)]
        assert await groups(Dimension.DAY, Dimension.MODEL) == [("2026-11-21", "m"), ("2026-11-22", "m")]

    async def test_days_are_utc(self, books):
        midnight = NOON + 12 * HOUR
        await give(
            books,
            replace(USAGE, request_id="1", start_time=midnight - timedelta(microseconds=1)),
            replace(USAGE, request_id="2", start_time=midnight),
        )
        rows = await books.sums.spend(Question((Dimension.DAY,)))
        assert [(row.group, row.requests) for row in rows] == [(("2026-11-21",), 1), (("2026-11-22",), 1)]

    @pytest.mark.parametrize("seed", range(4))
    async def test_any_span_filter_and_grouping_sums_exactly_what_was_charged(self, books, seed):
        random = Random(seed)
        for meter in Meter:
            await books.prices.add(
                price(meter=meter, model="", effective_from=NOON - HOUR / 3, effective_to=NOON + HOUR)
            )
            await books.prices.add(price(meter=meter, model="m", version="2", effective_from=NOON - DAY))
        usages = [
            replace(
                USAGE,
                request_id=str(random.randrange(150)),
                hop=random.choice(list(Hop)),
                start_time=NOON
                + timedelta(microseconds=random.randrange(-3, 4) * 1_800_000_000 + random.randrange(-1, 2)),
                tenant=random.choice("ab"),
                model=random.choice("mn"),
                version=random.choice("12"),
                experiment=random.choice(["", "e"]),
                variant="v",
                grpc_status=random.choice([0, 0, 0, 14]),
                upstream_us=random.randrange(5_000_000),
            )
            for _ in range(200)
        ]
        booked = []
        for part in range(0, 200, 40):
            booked += (await give(books, *usages[part : part + 40])).booked
        assert len({made.usage.key for made in booked}) == len(booked) < 200
        billed = [made for made in booked if made.outcome in (Outcome.BILLED, Outcome.MIRRORED)]
        bounds = [
            None,
            *(NOON + timedelta(minutes=m, microseconds=us) for m in range(-90, 91, 30) for us in (-1, 0, 1)),
        ]
        for _ in range(60):
            since, until = random.choice(bounds), random.choice(bounds)
            if since and until and since >= until:
                continue
            dimensions = tuple(random.sample(list(Dimension), random.randrange(4)))
            asked = Question(dimensions, since, until, random.choice(["", "a"]), random.choice(["", "m"]))
            wanted = [made for made in billed if fits(made.usage, asked)]
            rows = await books.sums.spend(asked)
            assert sum(row.requests for row in rows) == len(wanted)
            assert sum(row.nanodollars for row in rows) == sum(made.nanodollars for made in wanted)
            assert sum(row.compute_us for row in rows) == sum(made.usage.upstream_us for made in wanted)
            assert sum(row.unpriced for row in rows) == sum(made.unpriced for made in wanted)
            assert all(before.group < after.group for before, after in pairwise(rows))
        for since in bounds:
            tallies = await books.sums.tallies(since)
            counted = sum(since is None or made.usage.start_time >= since for made in booked)
            assert sum(tally.usages for tally in tallies) == counted


def fits(usage, asked):
    begun = asked.since is None or asked.since <= usage.start_time
    ended = asked.until is not None and usage.start_time >= asked.until
    return begun and not ended and asked.tenant in {"", usage.tenant} and asked.model in {"", usage.model}
