"""Real servers for the tests that ask for them; a test that asks for none starts none.

Each set of servers lives as long as the session, on ports of its own, and ends even if pytest is killed.
A server that does not start fails the tests that need it: nothing here skips. Home directories have a space in their
name on purpose.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from deploy.local import parts
from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.postgres import Postgres
from deploy.local.stack import Stack
from tests.zipkin import Collector, collecting

pytest_plugins = ["tests.summary"]
# Stacks of tests let everybody in, but for those of tests about keys, which say so
os.environ["PENSTOCK_AUTH"] = "off"
_databases = itertools.count()


@contextmanager
def running(home: Path, names: tuple[str, ...], environment: Mapping[str, str] | None = None) -> Generator[Stack]:
    """A stack of these parts in `home`, on free ports, for the length of the block."""
    stack = Stack(Places.of(home), Ports.free(), names, durable=False)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (environment or {}).items():
                patch.setenv(name, value)
            stack.start(parent=os.getpid())
        yield stack
    finally:
        stack.stop()
        stack.remove()


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """PostgreSQL and Redis."""
    with running(tmp_path_factory.mktemp("the stores"), parts.STORES) as stack:
        yield stack


@pytest.fixture(scope="session")
def tritons(tmp_path_factory: pytest.TempPathFactory) -> Generator[Stack]:
    """Two bare Tritons: `tritons.address("triton_a_grpc")`, `tritons.repository("a")`, `tritons.kill("triton-a")`."""
    with running(tmp_path_factory.mktemp("the tritons"), ("triton-a", "triton-b")) as stack:
        yield stack


@pytest.fixture(scope="session")
def traces() -> Generator[Collector]:
    """What the whole stack exports of the traces that tests begin, with a `traceparent` that says to record them."""
    with collecting() as collector:
        yield collector


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, traces: Collector) -> Generator[Stack]:
    """The whole stack: what `penstock up` starts, beside it."""
    with running(tmp_path_factory.mktemp("the stack"), parts.ALL, traces.environment) as stack:
        yield stack


@pytest.fixture(scope="session")
def postgres_dsn(stores: Stack) -> str:
    """A database for the whole session. Tests that write share it: see `fresh_database`."""
    return stores.postgres_dsn


@pytest.fixture
def fresh_database(stores: Stack) -> Generator[str]:
    """The DSN of an empty database of this test's own."""
    postgres = Postgres.of(stores.places)
    name = f"test_{next(_databases)}"
    _psql(postgres, f"CREATE DATABASE {name}")
    yield postgres.dsn(name)
    _psql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(stores: Stack) -> str:
    """An empty Redis."""
    with redis.Redis.from_url(stores.redis_url) as client:
        client.flushall()
    return stores.redis_url


def _psql(postgres: Postgres, statement: str) -> None:
    command = [str(postgres.programs / "psql"), "-X", "-q", "-d", postgres.dsn("postgres"), "-c", statement]
    subprocess.run(command, check=True, capture_output=True, text=True)
