"""Redis: one client for a process; its errors become ours."""

from collections.abc import Generator
from contextlib import contextmanager

import redis.asyncio
from redis.exceptions import RedisError

from libs.errors import Unavailable

TIMEOUT_SECONDS = 2.0
MOST_CONNECTIONS = 32


def open_redis(url: str) -> redis.asyncio.Redis:
    """Connects when first used. Values are bytes. Under a burst calls wait for a connection; the plain pool raises."""
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=MOST_CONNECTIONS,
        timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        health_check_interval=10,
    )
    return redis.asyncio.Redis.from_pool(pool)


@contextmanager
def redis_errors() -> Generator[None]:
    """Wrap every use: a driver's error never leaves the store."""
    try:
        yield
    except (RedisError, OSError) as error:
        message = f"Redis cannot be reached: {error}"
        raise Unavailable("STORE_UNAVAILABLE", message, retry_after_seconds=1, store="redis") from error
