"""Filters that fail deny: what a call goes on to that was never read, or has no version in it, is no Triton."""

from __future__ import annotations

import contextlib
import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from deploy.envoy.filter import build
from tests.integration.dataplane import models
from tests.integration.dataplane.another import another_envoy
from tests.integration.dataplane.plane import OPTIONS, DataPlane

UNREAD, UNWRITTEN = "the request could not be read", "the version could not be written into the message"
FAULTS = {
    "no scope": (UNREAD, "inference.c", "x-penstock-scope", "x-penstock-skope"),
    "no version": (UNWRITTEN, "version.c", "all) && lengthen", "all) && false && lengthen"),
    "no attempt": (UNWRITTEN, "version.c", "return number;", "return 0;"),
}
"""What a caller is told; a file of the filters, something in it, and what to break it with."""


@pytest.fixture
def envoy_with(data_plane: DataPlane, tmp_path: Path) -> Iterator[Callable[[str], grpc.Channel]]:
    """A second Envoy of the same policy, with one of its filters changed."""

    def start(fault: str = "") -> grpc.Channel:
        sources = tmp_path / "filter"
        shutil.copytree(build.SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
        if fault:
            _, file, sound, broken = FAULTS[fault]
            text = (sources / file).read_text()
            assert sound in text
            (sources / file).write_text(text.replace(sound, broken))
        build.compile_to(tmp_path / build.NAME, sources=sources)
        ports = running.enter_context(another_envoy(data_plane, tmp_path, modules=tmp_path))
        return grpc.insecure_channel(f"127.0.0.1:{ports['ingress']}", OPTIONS)

    with contextlib.ExitStack() as running:
        yield start


def successes(plane: DataPlane) -> int:
    def count(server: str) -> int:
        with urllib.request.urlopen(f"http://{plane.stack.address(f'triton_{server}_http')}/v2/models/stats") as reply:
            return sum(m["inference_stats"]["success"]["count"] for m in json.load(reply)["model_stats"])

    return count("a") + count("b")


def test_the_other_envoy_works_while_its_filters_do(data_plane: DataPlane, envoy_with):
    before = successes(data_plane)
    assert models.call(envoy_with("")).code == "OK"
    assert successes(data_plane) == before + 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_filter_that_fails_denies(data_plane: DataPlane, envoy_with, fault: str):
    before = successes(data_plane)
    with envoy_with(fault) as channel:
        answer = models.call(channel)
        pinned = models.call(channel, models.request(version="2"))
    told = FAULTS[fault][0]
    assert (answer.code, answer.text) == ("INTERNAL", told)
    assert (pinned.code, pinned.text) == ("INTERNAL", told)
    assert successes(data_plane) == before
