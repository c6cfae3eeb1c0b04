"""Redis: one client for a process; its errors become ours."""

from collections.abc import Generator
from contextlib import contextmanager

import redis.asyncio
from redis.exceptions import RedisError

from libs.errors import Unavailable

TIMEOUT_SECONDS = 2.0


def open_redis(url: str) -> redis.asyncio.Redis:
    """Connects when first used. Values are bytes."""
    return redis.asyncio.Redis.from_url(
        url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, health_check_interval=10
    )


@contextmanager
def redis_errors() -> Generator[None]:
    """Wrap every use: a driver's error never leaves the store."""
    try:
        yield
    except (RedisError, OSError) as error:
        message = f"Redis cannot be reached: {error}"
        raise Unavailable("STORE_UNAVAILABLE", message, retry_after_seconds=1, store="redis") from error
