"""The fixtures' own servers answer."""

from __future__ import annotations

import asyncpg
import redis.asyncio

from deploy.local.stack import Stack


async def test_each_database_is_empty_and_apart(postgres_dsn: str, fresh_database: str) -> None:
    assert postgres_dsn != fresh_database
    connection = await asyncpg.connect(fresh_database)
    try:
        assert (await connection.fetchval("SHOW server_version")).startswith("18")
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        await connection.close()


async def test_redis_starts_empty(redis_url: str) -> None:
    client = redis.asyncio.from_url(redis_url)
    try:
        assert await client.dbsize() == 0
        await client.set("left", "behind")
    finally:
        await client.aclose()


async def test_redis_is_empty_again(redis_url: str) -> None:
    client = redis.asyncio.from_url(redis_url)
    try:
        assert await client.dbsize() == 0
    finally:
        await client.aclose()


def test_two_bare_tritons_are_ready(tritons: Stack) -> None:
    assert tritons.ready("triton-a")
    assert tritons.ready("triton-b")
    assert tritons.repository("a") != tritons.repository("b")
