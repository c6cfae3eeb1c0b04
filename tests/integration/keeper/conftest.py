"""Envoy behind its keeper, two Tritons, and routing's ADS, whose deaths a test decides."""

import os

import pytest

from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane


@pytest.fixture(scope="session")
def shared_plane(tmp_path_factory):
    home = tmp_path_factory.mktemp("the kept plane")
    stack = Stack(Places.of(home), Ports.free(), ("triton-a", "triton-b", "envoy", "keeper"), durable=False)
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
def plane(shared_plane):
    """With the policy of `DataPlane.inputs`, which Envoy follows."""
    shared_plane.apply(shared_plane.inputs())
    return shared_plane


@pytest.fixture
def ingress(plane):
    with plane.channel() as channel:
        yield channel
