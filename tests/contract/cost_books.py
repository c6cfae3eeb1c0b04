"""Every store of the books, empty; and what the suites put into them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest

import services.cost_tracking
from libs.postgres import Database
from services.cost_tracking.domain.price import Meter, Price
from services.cost_tracking.domain.usage import Hop, Usage
from services.cost_tracking.stores.ledger import PostgresLedger
from services.cost_tracking.stores.prices import PostgresPrices
from services.cost_tracking.stores.spend import PostgresSpend
from tests.contract.cost_books_in_memory import BooksInMemory

MIGRATIONS = Path(services.cost_tracking.__file__).parent / "migrations"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
PRICE = Price("", Meter.REQUEST, "m", "", Decimal("1500.000000000000000001"), NOON, None, NOON)
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
    upstream_us=2_000_000,
    bytes_in=10,
    bytes_out=20,
)


@pytest.fixture
async def in_memory():
    books = BooksInMemory()
    return SimpleNamespace(prices=books, ledger=books, sums=books)


@pytest.fixture
async def in_postgres(fresh_database):
    database = Database(fresh_database, "cost_tracking", MIGRATIONS)
    await database.open()
    yield SimpleNamespace(
        prices=PostgresPrices(database), ledger=PostgresLedger(database), sums=PostgresSpend(database)
    )
    await database.close()


@pytest.fixture(params=["in_memory", "in_postgres"])
def books(request):
    return request.getfixturevalue(request.param)


def price(**change):
    return replace(PRICE, id=str(uuid4()), **change)


def span(hours):
    first, last = hours
    return {"effective_from": NOON + first * HOUR, "effective_to": None if last is None else NOON + last * HOUR}
