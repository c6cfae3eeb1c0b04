"""Everything that tritonclient asks, of the ingress and of a bare Triton: the same script, the same words."""

import contextlib
import gzip
import http.client
import json
import queue
import re
import urllib.request
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.http as rest
from tritonclient.grpc import service_pb2_grpc

from deploy.envoy.record import parse
from deploy.local.envoy import access_log
from examples.protocol import walk
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import Route
from tests.models import answered_by, infer_request
from tests.polling import eventually
from tests.serving import await_servers, deploy

SECONDS = 30
KEY = "x-penstock-routing-key"
LARGEST = 16 * 1024 * 1024  # floats: 64 MiB
CONFIGURATION = """
name: "%s"
backend: "python"
max_batch_size: 0
input [{name: "X" data_type: TYPE_FP32 dims: [-1]}]
output [{name: "Y" data_type: TYPE_FP32 dims: [-1]}]
%s
"""
# Y = X; a negative X is worked on until it is cancelled. Files say what has begun and what was cancelled.
PATIENT = """
import os
import time

import triton_python_backend_utils as utils


class TritonPythonModel:
    def initialize(self, args):
        self.notes = args["model_repository"]

    def note(self, word, request):
        open(os.path.join(self.notes, f"{word}-{request.request_id()}"), "w").close()

    def execute(self, requests):
        answers = []
        for request in requests:
            value = utils.get_input_tensor_by_name(request, "X")
            if value.as_numpy()[0] < 0:
                self.note("begun", request)
                while not request.is_cancelled():
                    time.sleep(0.01)
                self.note("cancelled", request)
            answers.append(utils.InferenceResponse([utils.Tensor("Y", value.as_numpy())]))
        return answers
"""
# X[0] answers to each request
MANY = """
import triton_python_backend_utils as utils


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            value = utils.get_input_tensor_by_name(request, "X").as_numpy()
            for number in range(int(value[0])):
                sender.send(utils.InferenceResponse([utils.Tensor("Y", value + number)]))
            sender.send(flags=utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def serve_python(stack, penstock, name, code, more=""):
    for server in "ab":
        folder = stack.repository(server) / name
        (folder / "1").mkdir(parents=True)
        (folder / "1" / "model.py").write_text(code)
        (folder / "config.pbtxt").write_text(CONFIGURATION % (name, more))
    penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name=name)))
    version = ModelVersion(model=name, version="1", external=True)
    penstock.models.CreateModelVersion(reg.CreateModelVersionRequest(model_version=version))
    deploy(penstock, name, "1")
    penstock.routing.CreateRoute(rt.CreateRouteRequest(route=Route(model=name, default_version="1")))
    await_servers(penstock, name, 2)
    return name


@pytest.fixture(scope="session")
def patient(stack, penstock):
    return serve_python(stack, penstock, "patient", PATIENT, "instance_group [{kind: KIND_CPU count: 2}]")


@pytest.fixture(scope="session")
def many(stack, penstock):
    return serve_python(stack, penstock, "many", MANY, "model_transaction_policy {decoupled: true}")


@pytest.fixture
def ingress(stack):
    return stack.address("ingress")


def floats(kind, *values):
    tensor = kind.InferInput("X", [len(values)], "FP32")
    tensor.set_data_from_numpy(np.array(values, np.float32))
    return [tensor]


def streamed(address, requests, count, **how):
    """What each of so many answers of one stream says, in order."""
    answers = queue.Queue()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for number, (model, value) in enumerate(requests):
            client.async_stream_infer(model, floats(triton, value), request_id=str(number), **how)
        found = [answers.get(timeout=SECONDS) for _ in range(count)]
        client.stop_stream()
    return [said(*answer) for answer in found]


def said(result, error):
    if error is not None:
        return "failed"
    answer = result.get_response()
    values = result.as_numpy("Y") if answer.outputs else np.array([])
    return answer.id, values.tolist(), answer.parameters["triton_final_response"].bool_param


def test_the_same_script_says_the_same_with_only_the_address_changed(stack, ingress, plain):
    bare = list(walk(stack.address("triton_a_grpc"), stack.address("triton_a_http"), plain, "1"))
    assert list(walk(ingress, ingress, plain, "1")) == bare


class TestStreams:
    def test_a_decoupled_model_gives_none_or_many_answers(self, stack, ingress, many):
        requests = [(many, 2), (many, 0), (many, 1)]
        bare = streamed(stack.address("triton_a_grpc"), requests, 3)
        assert sorted(streamed(ingress, requests, 3)) == sorted(bare)

    def test_the_last_answer_is_marked_when_that_is_asked_for(self, stack, ingress, many):
        bare = streamed(stack.address("triton_a_grpc"), [(many, 2)], 3, enable_empty_final_response=True)
        assert streamed(ingress, [(many, 2)], 3, enable_empty_final_response=True) == bare
        assert [last for _, _, last in bare] == [False, False, True]

    def test_models_are_mixed_and_a_failure_is_an_answer(self, ingress, patient, many):
        found = streamed(ingress, [(patient, 1), ("nobody", 1), (patient, 2), (many, 1)], 4)
        ordered = [answer for answer in found if answer[0] != "3"]
        assert ordered == [("0", [1.0], True), "failed", ("2", [2.0], True)]
        assert ("3", [1.0], False) in found

    def test_each_message_is_a_record_on_the_mesh(self, stack, ingress, many):
        tag = "a-stream-of-two"
        with triton.InferenceServerClient(ingress) as client:
            answers = queue.Queue()
            client.start_stream(
                lambda result, error: answers.put((result, error)), headers={"x-request-id": tag, KEY: "unit-1"}
            )
            for _ in range(2):
                client.async_stream_infer(many, floats(triton, 1))
            for _ in range(2):
                answers.get(timeout=SECONDS)
            client.stop_stream()

        def found():
            (door,) = (r for r in records(stack) if r.client_request_id == tag)
            calls = [r for r in records(stack) if r.request_id.startswith(f"{door.request_id}.")]
            return (door, calls) if len(calls) == 2 else None

        door, calls = eventually(found, within=SECONDS, message="the stream and its calls are recorded")
        assert (door.hop, door.route, door.reached_triton) == ("ingress", "slow-door", False)
        assert {(r.hop, r.route, r.model, r.version, r.unit) for r in calls} == {("mesh", "split", many, "1", "unit-1")}
        assert all(record.reached_triton for record in calls)

    def test_a_unit_gets_the_version_that_it_gets_by_a_call(self, ingress, infer, split):
        for unit in (f"unit-{number}" for number in range(12)):
            metadata = [(KEY, unit)]
            straight = infer(infer_request("split"), metadata=metadata, timeout=SECONDS)
            with grpc.insecure_channel(ingress) as channel:
                stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer
                (answer,) = stream(iter([infer_request("split")]), metadata=metadata, timeout=SECONDS)
            assert answered_by(answer.infer_response) == answered_by(straight)
            assert answer.infer_response.model_version == straight.model_version

    def test_the_mark_of_the_slow_door_is_no_callers_to_set(self, infer, plain):
        marked = infer(infer_request(plain), metadata=[("x-penstock-stream", "Stream")], timeout=SECONDS)
        assert answered_by(marked) == "1"

    def test_a_pinned_version_that_is_not_there(self, ingress, plain):
        with grpc.insecure_channel(ingress) as channel:
            stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer
            (answer,) = stream(iter([infer_request(plain, "9")]), timeout=SECONDS)
        assert "no version 9" in answer.error_message


class TestCompression:
    def test_a_compressed_message_is_answered_compressed(self, stack, ingress, patient):
        tag, values = "compressed", [0.0] * 100_000
        with triton.InferenceServerClient(ingress) as client:
            result = client.infer(
                patient, floats(triton, *values), compression_algorithm="gzip", headers={"x-request-id": tag}
            )
        assert result.as_numpy("Y").shape == (100_000,)

        def matching():
            return [r for r in records(stack) if r.client_request_id == tag]

        (record,) = eventually(matching, within=SECONDS, message="it is recorded")
        assert record.bytes_in < 10_000
        assert record.bytes_out < 10_000

    def test_rest_answers_in_the_encoding_that_is_asked_for(self, ingress, patient):
        body = {"inputs": [{"name": "X", "datatype": "FP32", "shape": [1000], "data": [0] * 1000}]}
        answer = post(ingress, patient, json.dumps(body).encode(), {"Accept-Encoding": "br;q=1, gzip;q=0.5"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len(json.loads(gzip.decompress(answer.body))["outputs"][0]["data"]) == 1000

    @pytest.mark.parametrize(
        ("headers", "status"), [({"Content-Encoding": "gzip"}, 400), ({"Content-Encoding": "compress"}, 415)]
    )
    def test_a_body_that_is_not_what_it_says(self, ingress, patient, headers, status):
        answer = post(ingress, patient, b"not compressed at all", headers)
        assert answer.status == status
        assert json.loads(answer.body)["error"]


class TestLargeTensors:
    """64 MiB there and back."""

    def test_compressed(self, ingress, patient):
        unbounded = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        with triton.InferenceServerClient(ingress, channel_args=unbounded) as client:
            result = client.infer(patient, [large(triton)], compression_algorithm="deflate")
        assert result.as_numpy("Y").shape == (LARGEST,)

    def test_rest(self, ingress, patient):
        with rest.InferenceServerClient(ingress, network_timeout=SECONDS) as client:
            assert client.infer(patient, [large(rest)]).as_numpy("Y").shape == (LARGEST,)

    def test_a_body_that_is_larger_is_refused(self, ingress, patient):
        answer = post(ingress, patient, bytes(68 * 1024 * 1024), {"Content-Type": "application/octet-stream"})
        assert answer.status == 413
        assert json.loads(answer.body)["error"]


class TestCancellation:
    """Reaches the model, whatever the form of the call."""

    @pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
    def test_of_a_call(self, stack, ingress, patient, compression):
        id_ = f"call-{compression.name}"
        with grpc.insecure_channel(ingress) as channel:
            call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer.future(
                endless(patient, id_), compression=compression, timeout=SECONDS
            )
            noted(stack, "begun", id_)
            call.cancel()
            noted(stack, "cancelled", id_)

    @pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
    def test_by_the_callers_deadline(self, stack, ingress, patient, compression):
        id_ = f"deadline-{compression.name}"
        with grpc.insecure_channel(ingress) as channel, pytest.raises(grpc.RpcError) as caught:
            service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
                endless(patient, id_), compression=compression, timeout=1
            )
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        noted(stack, "cancelled", id_)

    def test_of_a_stream(self, stack, ingress, patient):
        with triton.InferenceServerClient(ingress) as client:
            client.start_stream(lambda result, error: None)
            client.async_stream_infer(patient, floats(triton, -1), request_id="stream")
            noted(stack, "begun", "stream")
            client.stop_stream(cancel_requests=True)
            noted(stack, "cancelled", "stream")

    def test_of_a_rest_call(self, stack, ingress, patient):
        body = {"id": "rest", "inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [-1]}]}
        connection = http.client.HTTPConnection(ingress, timeout=SECONDS)
        connection.request("POST", f"/v2/models/{patient}/infer", json.dumps(body))
        noted(stack, "begun", "rest")
        connection.close()
        noted(stack, "cancelled", "rest")


class TestRest:
    def test_a_unit_gets_the_version_that_it_gets_by_grpc(self, ingress, infer, split):
        for unit in (f"unit-{number}" for number in range(12)):
            answer = post(ingress, "split", ROW, {KEY: unit})
            straight, call = infer.with_call(infer_request("split"), metadata=[(KEY, unit)], timeout=SECONDS)
            expected = dict(call.initial_metadata())
            assert json.loads(answer.body)["outputs"][0]["data"][0] == float(answered_by(straight))
            for name in ("x-penstock-model-version", "x-penstock-variant", "x-penstock-experiment"):
                assert answer.headers.get(name) == expected.get(name)
            assert answer.headers["x-penstock-slow-door"] == "1"
            assert answer.headers["x-request-id"]

    @pytest.mark.parametrize(
        ("method", "path", "status", "word"),
        [
            ("POST", "/v2/models/nobody/infer", 404, "nobody"),
            ("POST", "/v2/models/plain/versions/9/infer", 404, "version"),
            ("POST", "/v2/repository/models/plain/load", 501, "DeploymentService"),
            ("POST", "/v2/repository/models/plain/unload", 501, "DeploymentService"),
            ("GET", "/v2/systemsharedmemory/status", 501, "memory"),
            ("GET", "/v2/trace/setting", 501, "server"),
            ("GET", "/v2/models/nobody", 404, "nobody"),
            ("GET", "/v2/models/plain/versions/x/config", 400, "version"),
            ("GET", "/v2/nothing", 404, "Not Found"),
            ("PUT", "/v2", 405, "Not Allowed"),
        ],
    )
    def test_a_refusal_is_json_with_a_status(self, ingress, plain, method, path, status, word):
        answer = ask(ingress, method, path, ROW if method == "POST" else None)
        assert answer.status == status
        assert word in json.loads(answer.body)["error"]


def test_inferences_are_counted_by_the_form_they_came_in(stack, ingress, patient):
    before = counted(stack)
    with triton.InferenceServerClient(ingress) as client:
        client.infer(patient, floats(triton, *[0] * 1000), compression_algorithm="gzip")
    streamed(ingress, [(patient, 1)], 1)
    post(ingress, patient, b'{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1], "data": [1]}]}', {})
    after = counted(stack)
    assert {form: after[form] - before.get(form, 0) for form in after} == {"grpc-compressed": 1, "stream": 1, "http": 1}


ROW = b'{"inputs": [{"name": "X", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0, 0]}]}'


def ask(address, method, path, body=None, headers=None):
    """Status, headers and body of the answer."""
    with contextlib.closing(http.client.HTTPConnection(address, timeout=SECONDS)) as connection:
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent
            connection.request(method, path, body, headers or {})
        with connection.getresponse() as answer:
            return SimpleNamespace(status=answer.status, headers=answer.headers, body=answer.read())


def post(address, model, body, headers):
    return ask(address, "POST", f"/v2/models/{model}/infer", body, headers)


def large(kind):
    tensor = kind.InferInput("X", [LARGEST], "FP32")
    tensor.set_data_from_numpy(np.zeros(LARGEST, np.float32))
    return tensor


def endless(model, id_):
    request = infer_request(model)
    request.id = id_
    request.inputs[0].shape[:] = [4]
    request.raw_input_contents[0] = np.array([-1, 0, 0, 0], np.float32).tobytes()
    # so that it is worth compressing
    request.parameters["note"].string_param = "x" * 1000
    return request


def noted(stack, word, id_):
    folders = [stack.repository(server) / "patient" for server in "ab"]
    eventually(
        lambda: any((folder / f"{word}-{id_}").exists() for folder in folders),
        within=SECONDS,
        message=f"a Triton notes that {id_} has {word}",
    )


def records(stack):
    lines = access_log(stack.places).read_text().splitlines()
    return [parse(line) for line in lines if line.startswith("1\t")]


def counted(stack):
    """Inferences that went well, by form."""
    with urllib.request.urlopen(f"http://{stack.address('model_serving_metrics')}/metrics") as page:
        found = re.findall(r'penstock_slow_door_calls_total\{code="OK",form="([\w-]+)"\} (\S+)', page.read().decode())
    return {form: float(count) for form, count in found}
