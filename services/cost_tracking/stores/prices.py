"""Prices in Postgres."""

from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from libs.errors import AlreadyExists, Invalid, NotFound, Violation
from libs.paging import Page
from libs.postgres import Database
from services.cost_tracking.domain.price import Catalogue, Meter, Price

INSERT = """
INSERT INTO price (id, meter, model, version, nanodollars_per_unit, effective_from, effective_to, create_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
"""
OVERLAPPING = """
SELECT id FROM price
WHERE meter = $1 AND model = $2 AND version = $3 AND tstzrange(effective_from, effective_to) && tstzrange($4, $5)
ORDER BY effective_from LIMIT 1
"""
PAGE = "SELECT * FROM price ORDER BY meter, model, version, effective_from LIMIT $1"
PAGE_AFTER = """
SELECT price.* FROM price, (SELECT meter, model, version, effective_from FROM price WHERE id = $2) AS last
WHERE (price.meter, price.model, price.version, price.effective_from)
    > (last.meter, last.model, last.version, last.effective_from)
ORDER BY meter, model, version, effective_from LIMIT $1
"""
IN_FORCE = "SELECT * FROM price WHERE effective_from <= $2 AND (effective_to IS NULL OR effective_to > $1)"


class PostgresPrices:
    """The table `price`; its constraint, not this code, keeps prices of one scope from overlapping."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, price: Price) -> None:
        """Raises AlreadyExists PRICE_OVERLAP, which names the other price."""
        async with self._database.transaction() as connection:
            # two that overlap would wait for each other inside the constraint; here the second waits for the first
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('cost_tracking.price'))")
            try:
                async with connection.transaction():
                    await connection.execute(
                        INSERT,
                        UUID(price.id),
                        price.meter,
                        price.model,
                        price.version,
                        price.nanodollars_per_unit,
                        price.effective_from,
                        price.effective_to,
                        price.create_time,
                    )
            except asyncpg.ExclusionViolationError as error:
                raise await self._overlap(price) from error

    async def _overlap(self, price: Price) -> AlreadyExists:
        async with self._database.connection() as connection:
            other = await connection.fetchval(
                OVERLAPPING,
                price.meter,
                price.model,
                price.version,
                price.effective_from,
                price.effective_to,
            )
        return AlreadyExists("PRICE_OVERLAP", f"its time overlaps that of price {other}", price=str(other))

    async def take(self, price_id: str) -> Price:
        """Read a price and keep it from being ended by another until the transaction ends. Raises NotFound."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow("SELECT * FROM price WHERE id = $1 FOR NO KEY UPDATE", _id(price_id))
        if row is None:
            raise _not_found(price_id)
        return _price(row)

    async def end(self, price: Price) -> None:
        """Store the end of a price that was taken."""
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE price SET effective_to = $2 WHERE id = $1", UUID(price.id), price.effective_to
            )

    async def page(self, page: Page) -> list[Price]:
        """By meter, model, version, time. A page's key is the id of its last price."""
        async with self._database.connection() as connection:
            if not page.after:
                rows = await connection.fetch(PAGE, page.lookahead)
            else:
                last = _page_id(page.after[0])
                if not await connection.fetchval("SELECT true FROM price WHERE id = $1", last):
                    raise _unknown_page()
                rows = await connection.fetch(PAGE_AFTER, page.lookahead, last)
        return [_price(row) for row in rows]

    async def in_force(self, first: datetime, last: datetime) -> Catalogue:
        """Every price that counts somewhere in [first, last]."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(IN_FORCE, first, last)
        return Catalogue(_price(row) for row in rows)


def _price(row: asyncpg.Record) -> Price:
    values: dict[str, Any] = {**row, "id": str(row["id"]), "meter": Meter(row["meter"])}
    return Price(**values)


def _not_found(price_id: str) -> NotFound:
    return NotFound("PRICE_NOT_FOUND", f"no price {price_id!r}", price=price_id)


def _unknown_page() -> Invalid:
    return Invalid([Violation("page_token", "not a token that this list returned")], reason="INVALID_PAGE_TOKEN")


def _id(price_id: str) -> UUID:
    try:
        return UUID(price_id)
    except ValueError as error:
        raise _not_found(price_id) from error


def _page_id(price_id: str) -> UUID:
    try:
        return UUID(price_id)
    except ValueError as error:
        raise _unknown_page() from error
