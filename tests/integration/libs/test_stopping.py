"""What is cancelled ends, also where a driver swallows the first cancellation."""

import asyncio

from libs.serve import ended


async def test_a_task_that_swallows_a_cancellation_is_asked_again():
    swallowed = 0

    async def stubborn():
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await ended([task])
    assert task.cancelled()
    assert swallowed == 2
