"""Waiting for real servers to converge: a deadline, never a sleep of guessed length."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
EVERY_SECONDS = 0.05


def eventually(probe: Callable[[], T], *, within: float = 10.0, message: str = "") -> T:
    """The first true answer of `probe`, asked again until then; AssertionError after `within` seconds.

    A probe that raises has not answered yet; its last exception becomes the cause of the failure.
    """
    deadline = time.monotonic() + within
    while True:
        answer, fault = _ask(probe)
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(_failure(message, within, answer, fault)) from fault
        time.sleep(EVERY_SECONDS)


async def eventually_async(probe: Callable[[], Awaitable[T] | T], *, within: float = 10.0, message: str = "") -> T:
    """As `eventually`, for a probe that may be a coroutine function."""
    deadline = time.monotonic() + within
    while True:
        answer, fault = None, None
        try:
            asked = probe()
            answer = await asked if inspect.isawaitable(asked) else asked
        except Exception as raised:  # noqa: BLE001  whatever it is, the server may be there a moment later
            fault = raised
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise AssertionError(_failure(message, within, answer, fault)) from fault
        await asyncio.sleep(EVERY_SECONDS)


def _ask(probe: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return probe(), None
    except Exception as raised:  # noqa: BLE001  whatever it is, the server may be there a moment later
        return None, raised


def _failure(message: str, within: float, answer: object, fault: Exception | None) -> str:
    last = f"{type(fault).__name__}: {fault}" if fault else f"the last answer was {answer!r}"
    return f"{message or 'it did not become true'} within {within:g} s; {last}"
