"""More starts than the pool has connections ask model_serving at once, each waiting for the others."""

import asyncio

import grpc
import pytest

from libs.statuses import reason_of
from penstock.experimentation.v1 import experimentation_service_pb2 as pb
from penstock.experimentation.v1.experiment_pb2 import Experiment, Variant

COUNT = 12  # the pool has 10


@pytest.fixture
def together(routes):
    routes.together = asyncio.Barrier(COUNT)
    yield
    routes.together = None


async def create(service, number):
    variants = [Variant(name=name, version=version, weight=2000) for name, version in (("one", "1"), ("two", "2"))]
    made = Experiment(name=f"at-once-{number}", model=f"at-once-{number}", variants=variants)
    await service.CreateExperiment(pb.CreateExperimentRequest(experiment=made))
    return pb.StartExperimentRequest(request_id=f"start-{number}", name=made.name)


async def test_starts_wait_for_model_serving_without_a_connection(service, together):
    asked = [await create(service, number) for number in range(COUNT)]
    answers = await asyncio.gather(*(service.StartExperiment(request) for request in asked))
    assert {answer.experiment.state for answer in answers} == {Experiment.STATE_RUNNING}
    # nobody else asks now, so a repeat that asked would be waiting for others in vain
    assert await service.StartExperiment(asked[0]) == answers[0]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await service.StartExperiment(pb.StartExperimentRequest(name=asked[0].name))
    assert reason_of(raised.value) == "EXPERIMENT_STATE", "what stands in the way is told without asking"
    for request in asked:
        await service.StopExperiment(pb.StopExperimentRequest(name=request.name))
