"""python -m deploy.envoy.keeper"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys

import grpc
import uvloop

from deploy.envoy.keeper import config
from deploy.envoy.keeper.relay import Relay
from deploy.envoy.keeper.shelf import Shelf
from libs import channels, telemetry
from libs.config import ConfigError

NAME = "keeper"
GRACE_SECONDS = 0.5
OPTIONS = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_receive_message_length", channels.MESSAGE_BYTES),
    # Envoy asks every 10 s whether it is still there
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
)
log = logging.getLogger(NAME)


async def keep(settings: config.Config) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    shelf = Shelf(settings.state / "policy.sqlite")
    routings = [grpc.aio.insecure_channel(address, options=channels.OPTIONS) for address in settings.routings]
    server = grpc.aio.server(options=OPTIONS)
    Relay(shelf, routings).register(server)
    server.add_insecure_port(settings.listen)
    await server.start()
    log.info("keeping the policy of %s for the Envoy that asks %s", ", ".join(settings.routings), settings.listen)
    await stop.wait()
    await server.stop(GRACE_SECONDS)
    for routing in routings:
        await routing.close()
    shelf.close()


def main() -> int:
    try:
        settings = config.read(os.environ)
    except ConfigError as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    telemetry.set_up(NAME, settings.metrics_port)
    uvloop.run(keep(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
