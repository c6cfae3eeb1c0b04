"""Penstock's Envoy with its keeper, routing's part of the policy, and a server behind both."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grpc
import psutil
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from benchmarks.policy import policies
from deploy.local.places import Places
from deploy.local.ports import Ports
from deploy.local.stack import Stack

BACKEND = "triton_a_grpc"
CHANNEL = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]


@dataclass
class Running:
    """All of them, for one number of routes."""

    stack: Stack
    process: subprocess.Popen[str]
    stub: GRPCInferenceServiceStub
    calls: int = 0

    def change(self, part: str, n: int, value: Any) -> None:
        _pipe(self.process.stdin).write(json.dumps({"part": part, "n": n, "value": value}) + "\n")
        _pipe(self.process.stdin).flush()

    def told(self, key: str) -> dict[str, Any]:
        """All that routing says up to the next word of this: the newest of each. Raises EOFError."""
        said: dict[str, Any] = {}
        while key not in said:
            line = _pipe(self.process.stdout).readline()
            if not line:
                raise EOFError("routing has ended")
            said |= json.loads(line)
        return said

    def version(self, n: int) -> str:
        """Which version of the n-th model a call gets whose unit is in no experiment. Raises grpc.RpcError."""
        request = pb.ModelInferRequest(model_name=policies.name(n))
        metadata = [("x-penstock-routing-key", policies.bystander(n)), ("x-penstock-api-key", policies.key(n))]
        _, call = self.stub.ModelInfer.with_call(request, timeout=5, metadata=metadata)
        self.calls += 1
        return dict(call.initial_metadata())["x-penstock-model-version"]

    def envoy_memory(self) -> int:
        return psutil.Process(self.stack.pid("envoy")).memory_info().rss


@contextlib.contextmanager
def running(routes: int) -> Iterator[Running]:
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder, contextlib.ExitStack() as open_ones:
        stack = Stack(Places.of(Path(folder)), Ports.free(), ("envoy", "keeper"), durable=False)
        backend = stack.address(BACKEND)
        open_ones.enter_context(_process("benchmarks.policy.backend", backend))
        open_ones.enter_context(_process("benchmarks.native_path.sink", stack.address("health_monitoring")))
        arguments = stack.address("routing"), str(routes), backend, str(Path(folder) / "kept")
        routing = open_ones.enter_context(_process("benchmarks.policy.routing", *arguments))
        open_ones.callback(stack.remove)
        open_ones.callback(stack.stop)
        stack.start(parent=os.getpid())
        channel = open_ones.enter_context(grpc.insecure_channel(stack.address("ingress"), CHANNEL))
        yield Running(stack, routing, GRPCInferenceServiceStub(channel))


@contextlib.contextmanager
def _process(module: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = sys.executable, "-m", module, *arguments
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _pipe(found: IO[str] | None) -> IO[str]:
    if found is None:
        raise EOFError("it has no such pipe")
    return found
