"""Prices: what one unit of a meter costs in a span of time, and which of them counts."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from libs.errors import collecting
from libs.paging import Page

MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")
VERSION = re.compile(r"[1-9][0-9]{0,17}")
DEAREST = Decimal(10**12)
"""Nano-dollars a unit: so the dearest possible line item fits a BIGINT, and no record can stop the intake."""
DECIMAL = re.compile(r"[0-9]{1,13}(\.[0-9]{1,18})?")


class Meter(StrEnum):
    """What is counted."""

    REQUEST = "request"
    COMPUTE_SECOND = "compute_second"


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-dollars for one unit of a meter, for requests that start in [effective_from, effective_to).

    An empty model or version means every one; no effective_to means until further notice.
    """

    id: str
    meter: Meter
    model: str
    version: str
    nanodollars_per_unit: Decimal
    effective_from: datetime
    effective_to: datetime | None
    create_time: datetime


class PriceStore(Protocol):
    async def add(self, price: Price) -> None:
        """Raises AlreadyExists PRICE_OVERLAP, which names the other price of the same meter, model and version."""
        ...

    async def take(self, price_id: str) -> Price:
        """Read a price; nobody else ends it until the ambient transaction has. Raises NotFound PRICE_NOT_FOUND."""
        ...

    async def end(self, price: Price) -> None:
        """Store the end of a price that was taken."""
        ...

    async def page(self, page: Page) -> Sequence[Price]:
        """By meter, model, version, begin; the page's key is an id. Raises Invalid INVALID_PAGE_TOKEN."""
        ...


def proposed(
    price_id: str,
    meter: Meter | None,
    model: str,
    version: str,
    nanodollars_per_unit: str,
    effective_from: datetime | None,
    effective_to: datetime | None,
    now: datetime,
) -> Price:
    """The price that a caller asks for. Raises Invalid with every fault of it."""
    with collecting() as faults:
        faults.require(meter is not None, "price.meter", "required")
        named = not model or MODEL.fullmatch(model)
        faults.require(named, "price.model", "not 1 to 127 of [A-Za-z0-9_.-], starting with a letter or digit")
        numbered = not version or VERSION.fullmatch(version)
        faults.require(numbered, "price.version", "not a positive decimal integer without leading zeros")
        faults.require(model or not version, "price.version", "a version without a model")
        decimal = DECIMAL.fullmatch(nanodollars_per_unit)
        cheap = decimal and Decimal(nanodollars_per_unit) <= DEAREST
        fault = f"not a decimal number from 0 to {DEAREST:f} with at most 18 digits after the point"
        faults.require(cheap, "price.nanodollars_per_unit", fault)
        if faults.require(effective_from, "price.effective_from", "required") and effective_from and effective_to:
            faults.require(effective_from < effective_to, "price.effective_to", "not after effective_from")
    assert meter is not None and effective_from is not None  # noqa: S101, PT018  what is missing has been refused above
    unit_price = Decimal(nanodollars_per_unit)
    return Price(price_id, meter, model, version, unit_price, effective_from, effective_to, now)


def ended(price: Price, at: datetime, now: datetime) -> Price:
    """The same price with an end. Raises Invalid: it has one, or `at` is before its begin or in the past."""
    with collecting() as faults:
        if price.effective_to is not None:
            faults.add("id", f"price {price.id} already ends at {price.effective_to.isoformat()}")
        faults.require(at > price.effective_from, "effective_to", "not after the price's begin")
        faults.require(at >= now, "effective_to", "in the past: what was charged stays charged")
    return replace(price, effective_to=at)


class Catalogue:
    """Prices, no two of one meter, model and version at the same time."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._spans: dict[tuple[Meter, str, str], list[Price]] = {}
        for price in sorted(prices, key=lambda price: price.effective_from):
            self._spans.setdefault((price.meter, price.model, price.version), []).append(price)

    def find(self, meter: Meter, model: str, version: str, at: datetime) -> Price | None:
        """The most specific price in force: of model and version, else of the model, else of the meter."""
        for scope in ((model, version), (model, ""), ("", "")):
            spans = self._spans.get((meter, *scope))
            if spans:
                begun = bisect_right(spans, at, key=lambda price: price.effective_from)
                last = spans[begun - 1]
                if begun and (last.effective_to is None or at < last.effective_to):
                    return last
        return None
