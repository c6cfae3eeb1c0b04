"""A real Envoy and two real Tritons; the policy is compiled from inputs that the tests write, and served by our ADS."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator

import grpc
import pytest

from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane
from tests.integration.dataplane.services import Service, listening


@pytest.fixture(scope="session")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Generator[DataPlane]:
    home = tmp_path_factory.mktemp("the data plane")
    stack = Stack(Places.of(home), Ports.free(), ("triton-a", "triton-b", "envoy"), durable=False)
    plane = DataPlane(stack)
    plane.start()
    try:
        stack.start(parent=os.getpid())
        models.load_everywhere(stack)
        yield plane
    finally:
        stack.stop()
        stack.remove()
        plane.stop()


@pytest.fixture
def data_plane(shared_plane: DataPlane) -> DataPlane:
    """With the policy of `DataPlane.inputs`."""
    models.load_where_missing(shared_plane.stack)
    shared_plane.apply(shared_plane.inputs())
    return shared_plane


@pytest.fixture
def ingress(data_plane: DataPlane) -> Iterator[grpc.Channel]:
    with data_plane.channel() as channel:
        yield channel


@pytest.fixture(scope="session")
def services(shared_plane: DataPlane) -> Iterator[dict[str, Service]]:
    """Something that listens where each service would; routing's port belongs to the ADS server of these tests."""
    with listening(shared_plane.stack) as started:
        yield started
