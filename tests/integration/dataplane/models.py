"""Models whose every answer says which version gave it, and on which server."""

from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2 as pb

from deploy.local.stack import Stack

MODEL = """
import numpy as np, os, time, triton_python_backend_utils as pb
class TritonPythonModel:
    def execute(self, requests):
        version = {version}
        if version == 3:
            return [pb.InferenceResponse([], error=pb.TritonError("version 3 always fails")) for _ in requests]
        xs = [pb.get_input_tensor_by_name(r, "X").as_numpy() for r in requests]
        return [pb.InferenceResponse([pb.Tensor("Y", np.full_like(x, version))]) for x in xs]
"""
CONFIG = """
name: "{name}" backend: "python" max_batch_size: 64
version_policy {{ all {{}} }}
input [{{ name: "X" data_type: TYPE_FP32 dims: [4] }}]
output [{{ name: "Y" data_type: TYPE_FP32 dims: [4] }}]
dynamic_batching {{}}
instance_group [{{ kind: KIND_CPU count: 1 }}]
"""
INFER = "/inference.GRPCInferenceService/ModelInfer"


def write(repository: Path, name: str, versions: tuple[int, ...]) -> None:
    for version in versions:
        folder = repository / name / str(version)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.py").write_text(MODEL.replace("{version}", str(version)))
    (repository / name / "config.pbtxt").write_text(CONFIG.format(name=name))


def load(stack: Stack, server: str, name: str, versions: tuple[int, ...]) -> None:
    """Version 3 fails every call."""
    write(stack.repository(server), name, versions)
    with triton.InferenceServerClient(stack.address(f"triton_{server}_grpc")) as client:
        client.load_model(name)


def request(model: str, version: str = "") -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model, model_version=version)
    tensor = message.inputs.add(name="X", datatype="FP32")
    tensor.shape.extend([1, 4])
    message.raw_input_contents.append(np.ones(4, np.float32).tobytes())
    return message


def raw_call(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """ModelInfer with messages as bytes, so that a test can write what no library would."""
    return channel.unary_unary(INFER, request_serializer=bytes, response_deserializer=bytes)
