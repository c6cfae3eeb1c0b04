"""The first key of all: without one nobody could make any."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from libs.clock import Clock
from libs.errors import Unavailable
from services.routing.domain.keys import ADMIN, KeyStore, StoredKey, make_key
from services.routing.domain.policy import ApiKey

log = logging.getLogger(__name__)

FILE = "admin.key"
AGAIN_SECONDS = 0.5
AGAIN_WRITING_SECONDS = 5.0


async def ensure_a_key(keys: KeyStore, folder: Path, random: Callable[[int], bytes], clock: Clock) -> None:
    """Unless there ever was a key, make an admin's and write it to `admin.key`, which only its owner may read.

    Returns once there is a key: waits for Postgres and, with the reason in the log, for a folder that can be written.
    """
    path = folder / FILE
    while True:
        made = make_key(random)
        key = ApiKey(made.id, made.sha256, tenant="local", principal="admin", roles=(ADMIN,))
        stored = StoredKey(key, "made at the first start", creator="routing", create_time=clock.now())
        try:
            if await keys.create_first(stored, lambda text=made.text: _write(path, text)):
                log.warning("nobody had a key: that of an admin, %s, is in %s", made.id, path)
        except Unavailable:
            await asyncio.sleep(AGAIN_SECONDS)
        except OSError as error:
            log.error("nobody has a key, and the first cannot be kept: %s", error)  # noqa: TRY400  the trace says no more
            await asyncio.sleep(AGAIN_WRITING_SECONDS)
        else:
            return


def _write(path: Path, text: str) -> None:
    """In one step, for good: what is stored next would be of no use without it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)  # one that was left behind could be anybody's to read
    with open(fresh, "x", opener=_private) as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
