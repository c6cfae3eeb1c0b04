"""Envoy behind its keeper, two Tritons, and routing's ADS, whose deaths a test decides."""

import pytest

from tests.integration.dataplane.plane import running


@pytest.fixture(scope="session")
def shared_plane(tmp_path_factory):
    with running(tmp_path_factory.mktemp("the kept plane"), "keeper") as plane:
        yield plane


@pytest.fixture
def plane(shared_plane):
    """With the policy of `DataPlane.inputs`, which Envoy follows."""
    shared_plane.apply(shared_plane.inputs())
    return shared_plane


@pytest.fixture
def ingress(plane):
    with plane.channel() as channel:
        yield channel
