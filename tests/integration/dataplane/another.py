"""A second Envoy of the same policy, for what no other test should have to live with."""

from __future__ import annotations

import contextlib
import os
import subprocess
import urllib.request
from collections.abc import Generator
from pathlib import Path

from deploy.envoy.filter.build import library
from deploy.local import envoy
from deploy.local.ports import Ports
from tests.integration.dataplane.plane import DataPlane
from tests.polling import eventually


@contextlib.contextmanager
def another_envoy(plane: DataPlane, folder: Path, modules: Path | None = None) -> Generator[Ports]:
    """Its files lie in `folder`, its filters in `modules`: those of this checkout unless given. It has the policy."""
    own = Ports.free()
    ports = Ports(dict(plane.stack.ports.numbers) | {name: own[name] for name in ("ingress", "mesh", "envoy_admin")})
    text = envoy.render(envoy.TEMPLATE.read_text(), plane.stack.places, ports, ads="routing")
    configuration = folder / "bootstrap.yaml"
    configuration.write_text(text.replace("node: {id: envoy,", "node: {id: another,"))
    command = [str(envoy.program()), "-c", str(configuration), "--disable-hot-restart", "-l", "off"]
    found = {**os.environ, "ENVOY_DYNAMIC_MODULES_SEARCH_PATH": str(modules or library().parent)}
    process = subprocess.Popen(
        [*command, "--concurrency", "1", "--file-flush-interval-msec", "100"], env=found, stdin=subprocess.DEVNULL
    )
    try:
        eventually(lambda: _ready(ports["envoy_admin"]), within=20)
        yield ports
    finally:
        process.terminate()
        process.wait(10)


def _ready(admin: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready") as reply:
        return reply.status == 200
