"""A real Envoy and two real Tritons; the policy is compiled from inputs that the tests write, and served by our ADS."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import grpc
import pytest

from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane, running
from tests.integration.dataplane.services import Service, listening


@pytest.fixture(scope="session")
def shared_plane(tmp_path_factory: pytest.TempPathFactory) -> Generator[DataPlane]:
    with running(tmp_path_factory.mktemp("the data plane")) as plane:
        yield plane


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
