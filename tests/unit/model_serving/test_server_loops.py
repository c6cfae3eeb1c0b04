"""A server's control loop ends when it is told to, at whatever moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from libs.errors import Unavailable
from services.model_serving.domain.control import ServerLoop
from services.model_serving.domain.deployment import Server


class Nothing:
    """A store that cannot be reached, of a server whose connection never breaks."""

    async def wanted(self, server):
        raise Unavailable("POSTGRES_UNAVAILABLE", "nothing can be read now")

    async def lost(self):
        await asyncio.Event().wait()


@pytest.mark.parametrize("steps", range(6))
async def test_a_loop_ends_that_is_cancelled_as_it_is_woken(steps: int):
    """Python 3.11's wait_for forgets a cancellation that comes then: who waits for the loop's end waits for ever."""
    nothing = Nothing()
    now, drain = lambda: datetime.now(UTC), timedelta()
    loop = ServerLoop(Server("a", "a:1"), nothing, nothing, nothing, None, now, drain, lambda *_: None)
    running = asyncio.create_task(loop.run())
    for _ in range(10):
        await asyncio.sleep(0)
    loop.wake()
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=5)
    assert running in done
    assert running.cancelled()
