"""For people who look on: what there is, and again whenever it is something else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import grpc
import typer

from clients.cli.session import Session

PAUSE_SECONDS = 1.0
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

Watch = Annotated[bool, typer.Option("--watch", "-w", help="go on, and show what changes, until Ctrl-C")]
Found = TypeVar("Found")


def look(at: Session, ask: Callable[[], Found], *, on: bool) -> Iterator[Found]:
    """What `ask` finds; with `on`, again whenever that is something else. Whoever does not answer is waited for."""
    found = ask()
    yield found
    with suppress(KeyboardInterrupt):
        while on:
            time.sleep(PAUSE_SECONDS)
            before, found = found, _again(ask, found)
            if found != before:
                at.console.print(f"\n{datetime.now(UTC):%b %d %H:%M:%S}", style="bold")
                yield found


def _again(ask: Callable[[], Found], found: Found) -> Found:
    """What is found now; as long as nobody answers, what was found before."""
    try:
        return ask()
    except grpc.RpcError as error:
        if error.code() in AWAY:
            return found
        raise
