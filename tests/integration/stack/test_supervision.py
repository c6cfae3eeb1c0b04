"""What dies comes back, what is asked to stay down stays down, and nothing needs cleaning by hand."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis

from deploy.local.places import CHECKOUT, Places
from deploy.local.ports import PortInUse, Ports
from deploy.local.processes import Identity, kill_all
from deploy.local.stack import Stack, StackFailed
from tests.polling import eventually

PARTS = ("postgres", "redis", "triton-a")


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Stack]:
    """Three parts of the test's own, started."""
    stack = Stack(Places.of(tmp_path / "a home"), Ports.free(), PARTS, durable=False)
    try:
        stack.start(parent=os.getpid())
        yield stack
    finally:
        stack.stop()
        stack.remove()


def identities(stack: Stack) -> dict[str, Identity]:
    known = stack.record()
    assert known is not None
    return {name: part.process for name, part in known.parts.items() if part.process}


def test_what_dies_comes_back(small: Stack) -> None:
    before = identities(small)
    for part in PARTS:
        small.kill(part)
    for part in PARTS:
        small.wait_ready(part, unless=before[part])
    after = identities(small)
    assert all(after[part] != before[part] for part in PARTS)
    assert [small.restarts(part) for part in PARTS] == [1, 1, 1]
    assert not any(identity.alive() for identity in before.values())


def test_a_stopped_triton_is_not_ready_until_it_goes_on(small: Stack) -> None:
    before = small.pid("triton-a")
    small.suspend("triton-a")
    eventually(lambda: not small.ready("triton-a"))
    small.resume("triton-a")
    eventually(lambda: small.ready("triton-a"))
    assert small.pid("triton-a") == before
    assert small.restarts("triton-a") == 0


def test_a_held_part_stays_down_until_released(small: Stack) -> None:
    before = small.pid("redis")
    with small.held_down("redis"):
        known = eventually(lambda: (r := small.record()) and r.parts["redis"].held and r)
        assert known.parts["redis"].process is None
        with pytest.raises(LookupError):
            small.pid("redis")
    small.wait_ready("redis")
    assert small.pid("redis") != before


def test_a_restart_keeps_the_data(small: Stack) -> None:
    with redis.Redis.from_url(small.redis_url) as client:
        client.set("kept", "yes")
    small.restart("redis")
    with redis.Redis.from_url(small.redis_url) as client:
        assert client.get("kept") == b"yes"


def test_starting_twice_changes_nothing(small: Stack) -> None:
    before = identities(small)
    assert small.start() is False
    assert identities(small) == before


def test_stop_ends_every_process(small: Stack) -> None:
    before = identities(small)
    assert small.stop() is True
    assert not any(identity.alive() for identity in before.values())
    assert small.stop() is False


async def test_all_of_it_starts_again_after_everything_was_killed(small: Stack) -> None:
    connection = await asyncpg.connect(small.postgres_dsn)
    await connection.execute("CREATE TABLE kept (n int)")
    await connection.close()
    known = small.record()
    assert known is not None
    family = [i for part in known.parts.values() if part.process for i in part.process.family()]
    kill_all([known.supervisor, *family])
    assert small.start() is True
    connection = await asyncpg.connect(small.postgres_dsn)
    assert await connection.fetchval("SELECT count(*) FROM kept") == 0
    await connection.close()


def test_all_of_it_starts_again_after_the_supervisor_alone_was_killed(small: Stack) -> None:
    before = identities(small)
    known = small.record()
    assert known is not None
    known.supervisor.send(signal.SIGKILL)
    eventually(lambda: small.record() is None)
    assert all(identity.alive() for identity in before.values())
    assert small.start() is True
    assert not any(identity.alive() for identity in before.values())


def test_a_port_in_use_is_reported_by_name_before_anything_starts(tmp_path: Path) -> None:
    ports = Ports.free()
    stack = Stack(Places.of(tmp_path / "a home"), ports, PARTS)
    with socket.create_server(("127.0.0.1", ports["triton_a_http"])), pytest.raises(PortInUse) as caught:
        stack.start(parent=os.getpid())
    assert f"port {ports['triton_a_http']}, which triton-a wants, is in use by process {os.getpid()}" in str(
        caught.value
    )
    assert "PENSTOCK_PORT_TRITON_A_HTTP" in str(caught.value)
    assert stack.record() is None
    stack.remove()


def test_a_part_that_keeps_dying_fails_the_start_with_its_log(tmp_path: Path) -> None:
    stack = Stack(Places.of(tmp_path / "a home"), Ports.free(), ("redis",))
    (stack.places.data("redis") / "appendonly.aof").mkdir()
    with pytest.raises(StackFailed) as caught:
        stack.start(parent=os.getpid())
    assert "redis keeps dying" in str(caught.value)
    assert "append-only file" in str(caught.value)
    assert stack.record() is None
    stack.remove()


def test_a_stack_ends_with_the_process_that_it_was_started_for(tmp_path: Path) -> None:
    home, ports = tmp_path / "a home", Ports.free()
    start = (
        "import os, sys; from pathlib import Path; from deploy.local.stack import Stack;"
        "from deploy.local.places import Places; from deploy.local.ports import Ports;"
        "Stack(Places.of(Path(sys.argv[1])), Ports.from_environment(os.environ), ('redis',)).start(parent=os.getpid())"
    )
    command = [sys.executable, "-c", start, str(home)]
    subprocess.run(command, check=True, cwd=CHECKOUT, env={**os.environ, **ports.environment()})
    stack = Stack(Places.of(home), ports, ("redis",))
    eventually(lambda: stack.record() is None, within=20, message="the orphaned stack still runs")
    stack.remove()


def test_the_record_is_readable_text(small: Stack) -> None:
    raw = json.loads((small.places.home / "state").read_text())
    assert raw["parts"]["redis"]["ports"] == {"redis": small.ports["redis"]}
    assert (small.places.home / "logs" / "redis.log").stat().st_size > 0
    assert (small.places.home / "run").resolve() == small.places.run
