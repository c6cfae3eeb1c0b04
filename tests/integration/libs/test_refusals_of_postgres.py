"""What a real Postgres refuses while it lives, and that the next call finds it well again."""

import asyncio

import asyncpg
import pytest

from libs.errors import Conflict, TooLate, Unavailable
from libs.postgres import Database


@pytest.fixture
async def database(fresh_database, tmp_path):
    (tmp_path / "0001_things.sql").write_text("CREATE TABLE thing (name text PRIMARY KEY, n int NOT NULL DEFAULT 0);")
    database = Database(fresh_database, "things", tmp_path, most_connections=2)
    await database.open()
    async with database.connection() as connection:
        await connection.execute("INSERT INTO thing VALUES ('a'), ('b')")
    yield database
    await database.close()


@pytest.fixture
async def operator(fresh_database):
    connection = await asyncpg.connect(fresh_database)
    yield connection
    await connection.close()


async def add(database):
    async with database.connection() as connection:
        await connection.execute("UPDATE thing SET n = n + 1")


async def counts(operator):
    return [row["n"] for row in await operator.fetch("SELECT n FROM things.thing ORDER BY name")]


async def test_of_two_that_wait_for_each_other_one_is_given_up(database, operator):
    both = asyncio.Barrier(2)

    async def lock(first, second):
        async with database.transaction() as connection:
            await connection.execute("UPDATE thing SET n = n + 1 WHERE name = $1", first)
            await both.wait()
            await connection.execute("UPDATE thing SET n = n + 1 WHERE name = $1", second)

    ended = await asyncio.gather(lock("a", "b"), lock("b", "a"), return_exceptions=True)
    (refused,) = (error for error in ended if error is not None)
    assert isinstance(refused, Conflict)
    assert refused.reason == "STORE_CONFLICT"
    assert await counts(operator) == [1, 1]


async def test_a_statement_that_is_cancelled_is_too_late(database):
    with pytest.raises(TooLate) as raised:
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL statement_timeout = '50ms'")
            await connection.execute("SELECT pg_sleep(60)")
    assert raised.value.reason == "STORE_TIMEOUT"
    await add(database)


async def test_a_session_that_is_ended_is_unavailable_and_another_takes_over(database, operator):
    with pytest.raises(Unavailable) as raised:
        async with database.transaction() as connection:
            await operator.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
            await connection.execute("UPDATE thing SET n = n + 1")
    assert raised.value.reason == "STORE_UNAVAILABLE"
    await add(database)
    assert await counts(operator) == [1, 1]


async def test_a_full_disk_is_unavailable(database):
    """Of the files that a statement may write; the same class of errors."""
    with pytest.raises(Unavailable) as raised:
        async with database.transaction() as connection:
            await connection.execute("SET LOCAL temp_file_limit = '64kB'")
            await connection.execute("SET LOCAL work_mem = '64kB'")
            await connection.fetchval("SELECT count(*) FROM (SELECT n FROM generate_series(1, 200000) n ORDER BY -n) s")
    assert raised.value.reason == "STORE_UNAVAILABLE"
    assert isinstance(raised.value.__cause__, asyncpg.InsufficientResourcesError)
    await add(database)


async def test_after_a_failover_the_pool_leads_to_who_writes_now(database, operator):
    """A demoted server refuses to write; sessions of the time when it was one must not be used again."""
    name = await operator.fetchval("SELECT current_database()")
    await operator.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await operator.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )

    async def refusal():
        with pytest.raises(Unavailable) as raised:
            await add(database)
        return type(raised.value.__cause__)

    refused = {await refusal() for _ in range(4)}
    assert asyncpg.ReadOnlySQLTransactionError in refused
    await operator.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    await add(database)
    assert await counts(operator) == [1, 1]
