"""Filters that fail deny: an error in Lua lets a request go on, so what it goes on to must not be a Triton."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from deploy.local import envoy
from deploy.local.ports import Ports
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import OPTIONS, DataPlane
from tests.polling import eventually

START = "function envoy_on_request(handle)"


@pytest.fixture
def envoy_with(data_plane: DataPlane, tmp_path: Path) -> Iterator[Callable[[str, str], grpc.Channel]]:
    """A second Envoy of the same policy, with one of its filters changed."""
    running = []

    def start(file: str, first_statement: str) -> grpc.Channel:
        home = tmp_path / "deploy"
        shutil.copytree(envoy.TEMPLATE.parent, home, ignore=shutil.ignore_patterns("logship", "__pycache__"))
        script = home / "lua" / file
        script.write_text(script.read_text().replace(START, f"{START}\n{first_statement}"))
        ports = Ports(dict(data_plane.stack.ports.numbers) | {
            name: Ports.free()[name] for name in ("ingress", "mesh", "envoy_admin")
        })  # fmt: skip
        text = envoy.render(envoy.TEMPLATE.read_text(), data_plane.stack.places, ports)
        text = text.replace(str(data_plane.stack.places.short_checkout / "deploy" / "envoy"), str(home))
        configuration = tmp_path / "bootstrap.yaml"
        configuration.write_text(text.replace("node: {id: envoy,", "node: {id: broken,"))
        command = [str(envoy.program()), "-c", str(configuration), "--disable-hot-restart", "-l", "off"]
        running.append(subprocess.Popen([*command, "--concurrency", "1"]))
        eventually(lambda: _ready(ports["envoy_admin"]), within=20)
        return grpc.insecure_channel(f"127.0.0.1:{ports['ingress']}", OPTIONS)

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


def _ready(admin: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready") as reply:
        return reply.status == 200


def successes(plane: DataPlane) -> int:
    def count(server: str) -> int:
        with urllib.request.urlopen(f"http://{plane.stack.address(f'triton_{server}_http')}/v2/models/stats") as reply:
            return sum(m["inference_stats"]["success"]["count"] for m in json.load(reply)["model_stats"])

    return count("a") + count("b")


def test_the_other_envoy_works_while_its_filters_do(data_plane: DataPlane, envoy_with):
    before = successes(data_plane)
    assert models.call(envoy_with("inference.lua", "")).code == "OK"
    assert successes(data_plane) == before + 1


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("inference.lua", "the request could not be read"),
        ("version.lua", "the version could not be written into the message"),
    ],
)
def test_a_filter_that_fails_denies(data_plane: DataPlane, envoy_with, file: str, text: str):
    before = successes(data_plane)
    fault = "" if file == "inference.lua" else 'handle:headers():replace("x-envoy-attempt-count", "none")'
    with envoy_with(file, fault or 'error("on purpose")') as channel:
        answer = models.call(channel)
        pinned = models.call(channel, models.request(version="2"))
    assert (answer.code, answer.text) == ("INTERNAL", text)
    assert (pinned.code, pinned.text) == ("INTERNAL", text)
    assert successes(data_plane) == before
