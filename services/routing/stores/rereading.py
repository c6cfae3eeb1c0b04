"""Few rows that many need: after each notification all of them are read again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from libs.errors import PASSING

log = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5
Rows = TypeVar("Rows")


async def reread(what: str, changed: asyncio.Event, read: Callable[[], Awaitable[Rows]]) -> AsyncIterator[Rows]:
    """What `read` returns, each time that `changed` is set; once Postgres can be reached."""
    while True:
        await changed.wait()
        changed.clear()
        try:
            rows = await read()
        except PASSING as error:
            log.warning("%s were not read, the last ones stay in force: %s", what, error)
            await asyncio.sleep(AGAIN_SECONDS)
            changed.set()
            continue
        yield rows
