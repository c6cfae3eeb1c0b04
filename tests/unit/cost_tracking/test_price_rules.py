"""Which prices may be, when they end, and which one counts."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Invalid
from services.cost_tracking.domain.price import Catalogue, Meter, Price, ended, proposed

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def propose(**change):
    said = {
        "price_id": "p",
        "meter": Meter.REQUEST,
        "model": "m",
        "version": "1",
        "nanodollars_per_unit": "0.25",
        "effective_from": NOON,
        "effective_to": None,
        "now": NOON,
    }
    return proposed(**{**said, **change})


def price(name, hours, model="", version="", meter=Meter.REQUEST):
    first, last = hours
    end = None if last is None else NOON + last * HOUR
    return Price(name, meter, model, version, Decimal(1), NOON + first * HOUR, end, NOON)


def fields(raised):
    return [violation.field for violation in raised.value.violations]


def test_a_good_price_is_what_was_said():
    assert propose() == Price("p", Meter.REQUEST, "m", "1", Decimal("0.25"), NOON, None, NOON)
    assert propose(model="", version="").model == ""
    assert propose(effective_to=NOON + HOUR).effective_to == NOON + HOUR


@pytest.mark.parametrize("unit_price", ["0", "1500", "0.000000000000000001", "1000000000000", "999999999999.5", "007"])
def test_plain_decimals_are_prices(unit_price):
    assert propose(nanodollars_per_unit=unit_price).nanodollars_per_unit == Decimal(unit_price)


@pytest.mark.parametrize(
    "unit_price",
    [
        "",
        "-1",
        "+1",
        "1e3",
        "1.",
        ".5",
        "1,5",
        " 1",
        "1\n",
        "NaN",
        "Infinity",
        "0x10",
        "٣",
        "1_000",
        "1000000000001",
        "0.0000000000000000001",
    ],
)
def test_everything_else_is_not(unit_price):
    with pytest.raises(Invalid) as raised:
        propose(nanodollars_per_unit=unit_price)
    assert fields(raised) == ["price.nanodollars_per_unit"]


@pytest.mark.parametrize("model", [" ", "a b", "\n", "a\x7fb", "é", "../x", "-1", "m\n", "a" * 128, "\u202e"])
def test_no_price_is_for_what_no_model_can_be_named(model):
    with pytest.raises(Invalid) as raised:
        propose(model=model)
    assert fields(raised) == ["price.model"]


@pytest.mark.parametrize("version", [" ", "0", "01", "-1", "1\n", "latest", "٣", "1e3", "9" * 19])
def test_no_price_is_for_what_is_no_version(version):
    with pytest.raises(Invalid) as raised:
        propose(version=version)
    assert fields(raised) == ["price.version"]


def test_every_fault_is_told_at_once():
    with pytest.raises(Invalid) as raised:
        propose(meter=None, model="", nanodollars_per_unit="x", effective_from=None)
    told = ["price.meter", "price.version", "price.nanodollars_per_unit", "price.effective_from"]
    assert fields(raised) == told


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model": "m" * 257}, "price.model"),
        ({"version": "\0"}, "price.version"),
        ({"effective_to": NOON}, "price.effective_to"),
        ({"effective_to": NOON - HOUR}, "price.effective_to"),
    ],
)
def test_a_price_that_could_never_count_is_refused(change, field):
    with pytest.raises(Invalid) as raised:
        propose(**change)
    assert fields(raised) == [field]


def test_an_open_price_ends_once():
    end = ended(propose(), NOON + HOUR, NOON)
    assert end.effective_to == NOON + HOUR
    with pytest.raises(Invalid) as raised:
        ended(end, NOON + 2 * HOUR, NOON)
    assert fields(raised) == ["id"]


@pytest.mark.parametrize(("at", "now"), [(NOON, NOON), (NOON - HOUR, NOON - 2 * HOUR), (NOON + HOUR, NOON + 2 * HOUR)])
def test_it_ends_after_its_begin_and_not_in_the_past(at, now):
    with pytest.raises(Invalid) as raised:
        ended(propose(), at, now)
    assert fields(raised) == ["effective_to"]


def test_the_most_specific_price_in_force_counts():
    catalogue = Catalogue(
        [
            price("all", (0, None)),
            price("model", (1, 3), "m"),
            price("version", (2, 4), "m", "1"),
            price("second", (0, None), meter=Meter.COMPUTE_SECOND),
        ]
    )

    def found(hour, model="m", version="1"):
        at = catalogue.find(Meter.REQUEST, model, version, NOON + hour * HOUR)
        return at and at.id

    assert [found(hour) for hour in (-1, 0, 1, 2, 3, 4)] == [None, "all", "model", "version", "version", "all"]
    assert [found(hour, version="2") for hour in (0, 1, 2, 3)] == ["all", "model", "model", "all"]
    assert found(2, model="other") == "all"
    assert catalogue.find(Meter.COMPUTE_SECOND, "m", "1", NOON).id == "second"


spans = st.lists(st.integers(0, 20), unique=True, min_size=1, max_size=10).map(sorted)
scopes = st.sampled_from([("", ""), ("m", ""), ("m", "1"), ("m", "2"), ("other", "")])


@given(st.dictionaries(scopes, st.tuples(spans, st.booleans())), st.integers(-2, 22), scopes)
def test_the_catalogue_finds_what_a_search_through_all_prices_finds(shape, hour, asked):
    prices = []
    for (model, version), (cuts, is_open) in shape.items():
        ends = [*cuts[1:], None if is_open else cuts[-1] + 1]
        # every other span is left out: prices may have gaps between them
        for number, hours in enumerate(zip(cuts, ends, strict=True)):
            if number % 2 == 0:
                prices.append(price(f"{model}/{version}/{number}", hours, model, version))
    at = NOON + hour * HOUR
    fitting = [
        p
        for p in prices
        if p.model in {"", asked[0]} and p.version in {"", asked[1]} and p.effective_from <= at
        if p.effective_to is None or at < p.effective_to
    ]
    expected = max(fitting, key=lambda p: (bool(p.version), bool(p.model)), default=None)
    assert Catalogue(reversed(prices)).find(Meter.REQUEST, *asked, at) == expected
