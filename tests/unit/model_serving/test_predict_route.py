"""Which version's inputs are made, where deployed versions differ in theirs."""

import asyncio
import time

import numpy as np
import pytest

from libs.errors import NotFound, Precondition, Unavailable
from services.model_serving.domain.catalogue import Catalogue, Deployed
from services.model_serving.domain.deployment import Deployment, PlacementState
from services.model_serving.domain.prediction import Inference, Predictor, Question
from services.model_serving.domain.signature import Signature, TensorSpec
from services.model_serving.domain.tensors import Tensor
from tests.unit.model_serving.model_versions import NOON, model_version, placement

OTHER = Signature((TensorSpec("Z", "FP32", (1,)),), (TensorSpec("Y", "FP32", (1,)),))
VERSIONS = (model_version("1"), model_version("2"), model_version("74", signature=OTHER))


class Around:
    """What a predictor calls, in memory: routing that leads to `versions`, or fails with `error`."""

    def __init__(self, versions=(), error=None):
        self.versions = versions
        self.error = error
        self.asked = []

    async def leads_to(self, model, unit, seconds):
        self.asked.append((model, unit))
        if self.error:
            raise self.error
        return self.versions

    async def run(self, question, inputs, seconds):
        (self.sent,) = inputs
        answered = Tensor("Y", "FP32", np.array([[1.0]], np.float32))
        return Inference((answered,), question.model, "1", "", "", ())


def predict(around, versions=VERSIONS, features=None, keys=("u-1",)):
    catalogue = Catalogue()
    ready = (placement(PlacementState.READY),)
    deployments = tuple(Deployment("shift", v.version, False, NOON, ready) for v in versions)
    catalogue.replace(Deployed(deployments, versions, ()))
    predictor = Predictor(catalogue, around, around, around, around, time.monotonic)
    given = {"X": "1,2,3,4"} if features is None else features
    question = Question("shift", "", {}, given, None, keys, None)
    return asyncio.run(predictor.predict(question))


def test_a_version_to_which_nobody_is_led_changes_nothing():
    around = Around(["1", "2"])
    predict(around)
    assert around.asked == [("shift", "u-1")]
    assert around.sent.name == "X"


def test_a_caller_without_a_key_who_is_led_to_the_other_is_asked_for_its_inputs():
    around = Around(["74"])
    predict(around, features={"Z": 1.0}, keys=())
    assert around.asked == [("shift", "")]
    assert around.sent.name == "Z"


def test_routing_is_not_asked_while_all_agree():
    around = Around(error=AssertionError("asked"))
    predict(around, versions=VERSIONS[:2])
    assert around.asked == []


@pytest.mark.parametrize(
    ("around", "words"),
    [
        (Around(["2", "74"]), "may lead to versions 2 and 74, which differ in inputs"),
        (Around([]), "versions 1 and 74, which differ in inputs"),
        (Around(error=Unavailable("SERVICE_UNAVAILABLE", "no answer")), "is not known: no answer"),
    ],
)
def test_what_is_not_settled_is_said_as_it_is(around, words):
    with pytest.raises(Precondition) as raised:
        predict(around)
    assert raised.value.reason == "SIGNATURE_MISSING"
    assert words in raised.value.message
    assert "name the version" in raised.value.message


def test_a_model_without_a_route_has_none():
    with pytest.raises(NotFound):
        predict(Around(error=NotFound("ROUTE_NOT_FOUND", "no route")))
