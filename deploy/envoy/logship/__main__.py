"""python -m deploy.envoy.logship"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TextIO

import uvloop

from deploy.envoy.logship import config
from deploy.envoy.logship.housekeeping import Housekeeper
from deploy.envoy.logship.places import Places
from deploy.envoy.logship.record_log import RecordLog
from deploy.envoy.logship.shipping import Shipment
from deploy.envoy.logship.sinks import UnreadableLines, services
from libs import telemetry
from libs.channels import open_channel
from libs.config import ConfigError

NAME = "logship"
log = logging.getLogger(NAME)


async def ship(settings: config.Config) -> None:
    """Until SIGTERM or SIGINT. What was delivered and not yet noted is delivered again next time."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    mesh = open_channel(settings.mesh_address)
    record_log = RecordLog(settings.record_log)
    sinks = (*services(mesh), UnreadableLines(settings.state / "unreadable.jsonl"))
    shipments = [
        Shipment(settings.proxy, record_log, sink, Places(settings.state / f"{sink.name}.json")) for sink in sinks
    ]
    housekeeper = Housekeeper(record_log, settings.envoy_admin, settings.rotate_bytes, shipments)
    work = [asyncio.create_task(part.run()) for part in (*shipments, housekeeper)]
    stopping = asyncio.create_task(stop.wait())
    log.info("shipping %s as %s", settings.record_log, settings.proxy)
    done, _ = await asyncio.wait([*work, stopping], return_when=asyncio.FIRST_COMPLETED)
    for task in (*work, stopping):
        task.cancel()
    await asyncio.wait([*work, stopping])
    await mesh.close()
    for task in done - {stopping}:
        task.result()


def sole(state: Path) -> TextIO:
    """The lock that a second companion with the same state does not get; it ends with the process."""
    state.mkdir(parents=True, exist_ok=True)
    lock = (state / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"another companion is at work in {state}") from None
    return lock


def main() -> int:
    try:
        settings = config.read(os.environ)
        with sole(settings.state):
            telemetry.set_up(NAME, settings.metrics_port)
            uvloop.run(ship(settings))
    except ConfigError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
