"""In which order the answers of a stream come."""

import asyncio
from collections import defaultdict

import pytest
from tritonclient.grpc import service_pb2 as pb

from services.model_serving.servers.refusal import Refusal, Status, invalid
from services.model_serving.servers.streams import MOST_AHEAD, Stream


class Servers:
    """Answers a request when its id is released, as often as it says; `many` is decoupled."""

    def __init__(self):
        self.begun = []
        self.gone = []
        self.released = defaultdict(asyncio.Event)
        self.step = asyncio.Condition()

    async def _note(self, list_, item):
        async with self.step:
            list_.append(item)
            self.step.notify_all()

    async def infer(self, request, number):
        await self._note(self.begun, request.id)
        try:
            await self.released[request.id].wait()
        except asyncio.CancelledError:
            self.gone.append(request.id)
            raise
        if request.model_name == "nobody":
            raise Refusal(Status.NOT_FOUND, "no such model")
        for index in range(request.parameters["answers"].int64_param):
            infer_response = pb.ModelInferResponse(id=f"{request.id}{index}")
            yield pb.ModelStreamInferResponse(infer_response=infer_response)

    async def decoupled(self, model):
        return model == "many"

    async def until(self, *ids):
        async with self.step:
            await self.step.wait_for(lambda: set(ids) <= set(self.begun))


def message(model, id_, answers=1, sequence=0):
    request = pb.ModelInferRequest(model_name=model, id=id_)
    request.parameters["answers"].int64_param = answers
    if sequence:
        request.parameters["sequence_id"].int64_param = sequence
    return request.SerializeToString()


def read(data):
    if data == b"garbage":
        raise invalid("garbage")
    return pb.ModelInferRequest.FromString(data)


@pytest.fixture
def servers():
    return Servers()


def stream(servers, *messages):
    async def sent():
        for data in messages:
            yield data

    return Stream(read, servers.infer, servers.decoupled).answers(sent())


def told(answer):
    return answer.error_message or answer.infer_response.id


async def test_one_answer_each_comes_in_the_order_of_the_requests(servers):
    answers = stream(servers, message("one", "a"), message("one", "b"), message("one", "c"))
    first = asyncio.ensure_future(anext(answers))
    await servers.until("a", "b", "c")
    for id_ in "cba":
        servers.released[id_].set()
    assert [told(await first), *[told(answer) async for answer in answers]] == ["a0", "b0", "c0"]


async def test_a_decoupled_model_answers_none_or_many_times_and_waits_for_nobody(servers):
    answers = stream(servers, message("one", "a"), message("many", "b", 3), message("many", "c", 0))
    for id_ in "bc":
        servers.released[id_].set()
    assert [told(await anext(answers)) for _ in range(3)] == ["b0", "b1", "b2"]
    servers.released["a"].set()
    assert [told(answer) async for answer in answers] == ["a0"]


async def test_a_failure_is_an_answer_and_the_stream_goes_on(servers):
    answers = stream(servers, message("nobody", "a"), b"garbage", message("one", "c"))
    for id_ in "ac":
        servers.released[id_].set()
    assert [told(answer) async for answer in answers] == ["no such model", "garbage", "c0"]


async def test_requests_of_a_sequence_wait_for_each_other(servers):
    answers = stream(servers, message("one", "a", sequence=7), message("one", "b", sequence=7), message("one", "c"))
    first = asyncio.ensure_future(anext(answers))
    await servers.until("a", "c")
    assert "b" not in servers.begun
    for id_ in "abc":
        servers.released[id_].set()
    assert [told(await first), *[told(answer) async for answer in answers]] == ["a0", "b0", "c0"]


async def test_when_the_caller_goes_the_calls_are_cancelled(servers):
    answers = stream(servers, message("one", "a"), message("many", "b"))
    first = asyncio.ensure_future(anext(answers))
    await servers.until("a", "b")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await answers.aclose()
    assert sorted(servers.gone) == ["a", "b"]


async def test_no_more_than_so_many_are_on_their_way(servers):
    answers = stream(servers, *(message("one", str(n)) for n in range(MOST_AHEAD + 5)))
    first = asyncio.ensure_future(anext(answers))
    await servers.until(str(MOST_AHEAD - 1))
    assert len(servers.begun) == MOST_AHEAD
    for n in range(MOST_AHEAD + 5):
        servers.released[str(n)].set()
    await first
    assert len([answer async for answer in answers]) == MOST_AHEAD + 4


async def test_a_fault_of_ours_ends_the_stream(servers):
    async def broken(request, number):
        raise ZeroDivisionError
        yield

    async def sent():
        yield message("one", "a")

    with pytest.raises(ExceptionGroup):
        async for _ in Stream(read, broken, servers.decoupled).answers(sent()):
            pass
