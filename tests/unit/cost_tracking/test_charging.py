"""What an inference costs: exact, rounded once, conserved, and never through a float."""

import ast
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import services.cost_tracking
from services.cost_tracking.domain.charge import LineItem, amount, charge
from services.cost_tracking.domain.price import DEAREST, Catalogue, Meter, Price
from services.cost_tracking.domain.usage import LONGEST_TIME_US, Hop, Outcome, Usage

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
PRICE = Price("p", Meter.REQUEST, "", "", Decimal(1500), NOON, None, NOON)
COMPUTE = replace(PRICE, id="c", meter=Meter.COMPUTE_SECOND, nanodollars_per_unit=Decimal(2_000_000))
USAGE = Usage(
    request_id="r",
    hop=Hop.INGRESS,
    start_time=NOON,
    tenant="t",
    principal="p",
    model="m",
    version="1",
    experiment="",
    variant="",
    degraded="",
    grpc_status=0,
    http_status=200,
    attempts=1,
    reached_server=True,
    server="127.0.0.1:8001",
    upstream_us=1_234_567,
    bytes_in=10,
    bytes_out=20,
)
unit_prices = st.decimals(min_value=0, max_value=DEAREST, places=18, allow_nan=False)
quantities = st.integers(0, LONGEST_TIME_US)


def exactly(price: Price, quantity: int) -> Fraction:
    unit = 1 if price.meter is Meter.REQUEST else 1_000_000
    return Fraction(price.nanodollars_per_unit) * quantity / unit


@given(unit_prices, quantities, st.sampled_from(Meter))
def test_an_amount_is_the_exact_one_rounded_half_to_even(unit_price, quantity, meter):
    price = replace(PRICE, meter=meter, nanodollars_per_unit=unit_price)
    quantity = 1 if meter is Meter.REQUEST else quantity
    # Fraction rounds half to even, and shares no code with Decimal
    assert amount(price, quantity) == round(exactly(price, quantity))
    assert 0 <= amount(price, quantity) < 2**63


@pytest.mark.parametrize(("unit_price", "rounded"), [("0.5", 0), ("1.5", 2), ("2.5", 2), ("2.500000000000000001", 3)])
def test_halves_go_to_the_even_neighbour(unit_price, rounded):
    assert amount(replace(PRICE, nanodollars_per_unit=Decimal(unit_price)), 1) == rounded


def test_every_line_item_pins_its_price_and_quantity():
    made = charge(USAGE, Catalogue([PRICE, COMPUTE]))
    assert made.items == (
        LineItem(Meter.REQUEST, "p", 1, 1500),
        LineItem(Meter.COMPUTE_SECOND, "c", 1_234_567, 2_469_134),
    )
    assert (made.outcome, made.nanodollars, made.unpriced) == (Outcome.BILLED, 2_470_634, False)


def test_a_meter_without_a_price_is_not_sold():
    assert [item.meter for item in charge(USAGE, Catalogue([COMPUTE])).items] == [Meter.COMPUTE_SECOND]


def test_without_any_price_it_is_charged_nothing_and_says_so():
    made = charge(USAGE, Catalogue([replace(PRICE, model="other")]))
    assert (made.items, made.nanodollars, made.unpriced) == ((), 0, True)


def test_a_request_is_priced_at_its_start():
    yesterday = replace(PRICE, id="old", effective_from=NOON - timedelta(days=1), effective_to=NOON)
    catalogue = Catalogue([yesterday, PRICE])
    late = replace(USAGE, start_time=NOON - timedelta(microseconds=1))
    assert [item.price_id for item in charge(late, catalogue).items] == ["old"]
    assert [item.price_id for item in charge(USAGE, catalogue).items] == ["p"]


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, Outcome.BILLED),
        ({"hop": Hop.MESH}, Outcome.BILLED),
        ({"hop": Hop.MIRROR}, Outcome.MIRRORED),
        ({"hop": Hop.MIRROR, "grpc_status": 13}, Outcome.FAILED),
        # Triton worked and failed, or the caller went away: the caller got nothing
        ({"grpc_status": 13}, Outcome.FAILED),
        ({"grpc_status": 1, "http_status": 0}, Outcome.FAILED),
        # the slow door took it: its own line, on the mesh, is the one that is billed
        ({"reached_server": False, "server": "127.0.0.1:50053"}, Outcome.PASSED),
        ({"reached_server": False, "server": "127.0.0.1:50053", "grpc_status": 3}, Outcome.FAILED),
        # refused by Envoy
        ({"reached_server": False, "server": "", "attempts": 0, "grpc_status": 5}, Outcome.FAILED),
    ],
)
def test_only_what_a_server_answered_is_billed(change, outcome):
    made = charge(replace(USAGE, **change), Catalogue([PRICE, COMPUTE]))
    assert made.outcome is outcome
    assert bool(made.items) == (outcome in (Outcome.BILLED, Outcome.MIRRORED))
    assert not made.unpriced


@given(st.lists(st.tuples(unit_prices, quantities), max_size=30))
def test_sums_conserve_what_was_charged(parts):
    """However usage is grouped, sums of charges differ from the exact cost only by the rounding of each line item."""
    charges = []
    exact = Fraction(0)
    for unit_price, quantity in parts:
        request, compute = (replace(p, nanodollars_per_unit=unit_price) for p in (PRICE, COMPUTE))
        charges.append(charge(replace(USAGE, upstream_us=quantity), Catalogue([request, compute])))
        exact += exactly(request, 1) + exactly(compute, quantity)
    items = [item for made in charges for item in made.items]
    assert sum(made.nanodollars for made in charges) == sum(item.nanodollars for item in items)
    assert abs(sum(item.nanodollars for item in items) - exact) <= Fraction(len(items), 2)


def test_no_float_is_anywhere_near_money():
    """Neither a float literal, nor float(), nor the division that makes floats of integers."""
    rooms = Path(services.cost_tracking.__file__).parent
    for path in [*rooms.glob("domain/*.py"), *rooms.glob("stores/*.py"), *rooms.glob("servers/[!m]*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            literal = isinstance(node, ast.Constant) and isinstance(node.value, float)
            called = isinstance(node, ast.Name) and node.id == "float"
            divided = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div)
            found = literal or called or divided
            assert not found, f"{path.name}:{getattr(node, 'lineno', 0)}"
