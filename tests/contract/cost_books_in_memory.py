"""The books without Postgres: what prices, ledger and spend must do, in the fewest words."""

from collections import Counter
from contextlib import asynccontextmanager
from copy import deepcopy

from libs.errors import AlreadyExists, Invalid, NotFound, Violation
from services.cost_tracking.domain.price import Catalogue
from services.cost_tracking.domain.reconciliation import Tally
from services.cost_tracking.domain.spend import MOST_ROWS, Dimension, Spend
from services.cost_tracking.domain.usage import Outcome


class BooksInMemory:
    """Prices, ledger and sums in one; every method is one step of the event loop, hence atomic."""

    def __init__(self):
        self._state = {"prices": {}, "charges": {}, "aside": {}, "files": {}}

    @asynccontextmanager
    async def transaction(self):
        before = deepcopy(self._state)
        try:
            yield
        except BaseException:
            self._state = before
            raise

    async def add(self, price):
        for other in self._state["prices"].values():
            same = (other.meter, other.model, other.version) == (price.meter, price.model, price.version)
            begins = other.effective_to is None or price.effective_from < other.effective_to
            if same and begins and (price.effective_to is None or other.effective_from < price.effective_to):
                raise AlreadyExists("PRICE_OVERLAP", f"its time overlaps that of price {other.id}", price=other.id)
        self._state["prices"][price.id] = price

    async def take(self, price_id):
        if price_id not in self._state["prices"]:
            raise NotFound("PRICE_NOT_FOUND", f"no price {price_id!r}", price=price_id)
        return self._state["prices"][price_id]

    async def end(self, price):
        self._state["prices"][price.id] = price

    async def page(self, page):
        listed = sorted(self._state["prices"].values(), key=lambda p: (p.meter, p.model, p.version, p.effective_from))
        if page.after:
            ids = [price.id for price in listed]
            if page.after[0] not in ids:
                raise Invalid([Violation("page_token", "unknown")], reason="INVALID_PAGE_TOKEN")
            listed = listed[ids.index(page.after[0]) + 1 :]
        return listed[: page.lookahead]

    async def in_force(self, first, last):
        prices = self._state["prices"].values()
        return Catalogue(
            p for p in prices if p.effective_from <= last and (p.effective_to is None or first < p.effective_to)
        )

    async def post(self, charges):
        fresh = [charge for charge in charges if charge.usage.key not in self._state["charges"]]
        self._state["charges"].update({charge.usage.key: charge for charge in fresh})
        return [charge.usage.key for charge in fresh]

    async def usages(self, keys):
        charges = self._state["charges"]
        return {key: charges[key].usage for key in keys if key in charges}

    async def set_aside(self, items, proxy, file):
        kept = [item for item in dict.fromkeys(items) if item not in self._state["aside"]]
        self._state["aside"].update(dict.fromkeys(kept, (proxy, file)))
        return kept

    async def advance(self, proxy, file, start, end):
        committed = self._state["files"].setdefault((proxy, file), end)
        if start <= committed:
            self._state["files"][proxy, file] = max(committed, end)
        return self._state["files"][proxy, file]

    async def spend(self, question):
        groups = {}
        for charge in self._charges(question.since, question.until):
            usage = charge.usage
            asked = question.tenant in {"", usage.tenant} and question.model in {"", usage.model}
            if asked and charge.outcome in (Outcome.BILLED, Outcome.MIRRORED):
                group = tuple(_value(dimension, usage) for dimension in question.group_by)
                groups.setdefault(group, []).append(charge)
        if not question.group_by:
            groups.setdefault((), [])
        return [_sum(group, groups[group]) for group in sorted(groups)][: MOST_ROWS + 1]

    async def tallies(self, since):
        counted = Counter((charge.usage.hop, charge.outcome) for charge in self._charges(since, None))
        return [Tally(hop, outcome, count) for (hop, outcome), count in sorted(counted.items())]

    def _charges(self, since, until):
        for charge in self._state["charges"].values():
            start = charge.usage.start_time
            if (since is None or since <= start) and (until is None or start < until):
                yield charge


def _value(dimension, usage):
    return {
        Dimension.TENANT: usage.tenant,
        Dimension.MODEL: usage.model,
        Dimension.VERSION: usage.version,
        Dimension.VARIANT: f"{usage.experiment}/{usage.variant}" if usage.experiment else "",
        Dimension.DAY: usage.start_time.date().isoformat(),
    }[dimension]


def _sum(group, charges):
    return Spend(
        group,
        requests=len(charges),
        compute_us=sum(charge.usage.upstream_us for charge in charges),
        nanodollars=sum(charge.nanodollars for charge in charges),
        unpriced=sum(charge.unpriced for charge in charges),
    )
