"""What is known of deployments without the store."""

import pytest

from services.model_serving.domain.catalogue import Catalogue, Deployed, difference
from services.model_serving.domain.deployment import Deployment, DeploymentState, PlacementState
from services.model_serving.domain.signature import Signature, TensorSpec
from tests.unit.model_serving.model_versions import NOON, model_version, placement

READY, PENDING, FAILED = PlacementState.READY, PlacementState.PENDING, PlacementState.FAILED


def deployment(version, *states, deleting=False):
    placements = tuple(placement(state, server="abc"[index]) for index, state in enumerate(states))
    return Deployment("shift", version, deleting, NOON, placements)


def catalogue(*deployments):
    made = Catalogue()
    versions = tuple(model_version(d.version) for d in deployments)
    made.replace(Deployed(deployments, versions, ()))
    return made


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ([READY, READY], DeploymentState.READY),
        ([READY, FAILED], DeploymentState.PARTIAL),
        ([PENDING, FAILED], DeploymentState.PENDING),
        ([FAILED, FAILED], DeploymentState.FAILED),
    ],
)
def test_a_deployment_is_as_far_as_its_placements(states, state):
    assert deployment("1", *states).state is state
    assert deployment("1", *states, deleting=True).state is DeploymentState.DELETING


def test_the_route_leads_to_what_is_ready_somewhere():
    made = catalogue(deployment("1", PENDING), deployment("2", FAILED, READY), deployment("3", READY, deleting=True))
    assert [v.version for v in made.serving("shift")] == ["2"]
    assert made.serving("nobody") == []


def test_when_nothing_is_ready_what_is_deployed_tells_how_to_ask():
    made = catalogue(deployment("1", PENDING), deployment("2", FAILED))
    assert [v.version for v in made.serving("shift")] == ["1", "2"]


def test_a_ready_server_is_found_by_version():
    made = catalogue(deployment("1", READY), deployment("2", PENDING, READY))
    assert made.ready_address("shift") == "b:8001"
    assert made.ready_address("shift", "1") == "a:8001"
    assert made.ready_address("shift", "3") is None
    assert made.ready_address("nobody") is None


def test_versions_that_are_asked_for_alike():
    assert not difference([model_version("1"), model_version("2")])


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"feature_service": "flights"}, "feature service (none against flights)"),
        ({"signature": Signature((TensorSpec("X", "FP32", (5,)),), ())}, "X FP32 [4] against batched X FP32 [5]"),
    ],
)
def test_versions_that_differ_name_the_difference(other, words):
    assert words in difference([model_version("1"), model_version("2", **other)])
