"""What an inference costs. Decimal and integers only: nothing on the way from price to ledger is a float."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, Inexact, InvalidOperation, Overflow

from services.cost_tracking.domain.price import Catalogue, Meter, Price
from services.cost_tracking.domain.usage import Outcome, Usage

# A price has 31 digits, a quantity 19; whatever would not fit is an error here, never a rounded amount
EXACT = Context(prec=60, traps=[Inexact, InvalidOperation, Overflow])
CHARGED = frozenset({Outcome.BILLED, Outcome.MIRRORED})
UNIT_EXPONENT: Mapping[Meter, int] = {Meter.REQUEST: 0, Meter.COMPUTE_SECOND: 6}
"""A unit is 10^n of what a quantity counts: a second is a million microseconds."""


@dataclass(frozen=True, slots=True)
class LineItem:
    """One entry of the ledger. `quantity` counts requests or microseconds."""

    meter: Meter
    price_id: str
    quantity: int
    nanodollars: int


@dataclass(frozen=True, slots=True)
class Charge:
    """A usage with its line items; none unless a server answered it."""

    usage: Usage
    outcome: Outcome
    items: tuple[LineItem, ...]

    @property
    def nanodollars(self) -> int:
        return sum(item.nanodollars for item in self.items)

    @property
    def unpriced(self) -> bool:
        """Whether it should have been charged and no price of any meter was in force."""
        return self.outcome in CHARGED and not self.items


def charge(usage: Usage, catalogue: Catalogue) -> Charge:
    """Price a usage at its start. A meter without a price in force is not sold: it makes no line item."""
    outcome = usage.outcome
    if outcome not in CHARGED:
        return Charge(usage, outcome, ())
    items: list[LineItem] = []
    for meter, quantity in ((Meter.REQUEST, 1), (Meter.COMPUTE_SECOND, usage.upstream_us)):
        price = catalogue.find(meter, usage.model, usage.version, usage.start_time)
        if price is not None:
            items.append(LineItem(meter, price.id, quantity, amount(price, quantity)))
    return Charge(usage, outcome, tuple(items))


def amount(price: Price, quantity: int) -> int:
    """Nano-dollars, rounded once, half to even."""
    exact = EXACT.multiply(price.nanodollars_per_unit, Decimal(quantity))
    exact = EXACT.scaleb(exact, -UNIT_EXPONENT[price.meter])
    return int(exact.to_integral_value(ROUND_HALF_EVEN))
