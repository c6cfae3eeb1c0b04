"""Every way in which tritonclient asks, of whatever answers the Open Inference Protocol at an address.

    python -m examples.protocol MODEL VERSION [--grpc HOST:PORT] [--http HOST:PORT]

The same words come back from a Triton and from Penstock, where gRPC and HTTP have one address. The model takes `X` and
gives `Y`, both FP32 [n, 4].
"""

from __future__ import annotations

import argparse
import asyncio
import os
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio

INGRESS = "127.0.0.1:10000"
ROW = np.array([[1, 2, 3, 4]], np.float32)
COMPRESSIONS = (None, "gzip", "deflate")
ROWS = 64
"""Enough that compression makes a message smaller: gRPC sends one that would grow as it is."""


class _Key(over_grpc.InferenceServerClientPlugin):
    """tritonclient's own way of adding a header to each request."""

    def __call__(self, request: Any) -> None:
        request.headers["x-penstock-api-key"] = os.environ["PENSTOCK_API_KEY"]


def _introduce(client: Any) -> None:
    """Penstock asks for a key; a Triton does not look at it."""
    if "PENSTOCK_API_KEY" in os.environ:
        client.register_plugin(_Key())


def _input(kind: Any, *, rows: int = 1, **how: Any) -> list[Any]:
    data = np.repeat(ROW, rows, axis=0)
    tensor = kind.InferInput("X", list(data.shape), "FP32")
    tensor.set_data_from_numpy(data, **how)
    return [tensor]


def _told(result: Any) -> str:
    said = result.get_response()
    model, version = (said["model_name"], said["model_version"]) if isinstance(said, dict) else (
        said.model_name, said.model_version
    )  # fmt: skip
    values = result.as_numpy("Y")
    return f"{model} {version} {values.shape} {values[-1].tolist()}"


def by_grpc(address: str, model: str, version: str) -> Iterator[str]:
    asked = {"model_name": model, "model_version": version}
    with over_grpc.InferenceServerClient(address) as client:
        _introduce(client)
        yield f"live {client.is_server_live()}, ready {client.is_server_ready()}"
        yield f"model ready {client.is_model_ready(model, version)}"
        yield f"metadata {client.get_model_metadata(model, version).inputs}"
        yield f"config {client.get_model_config(model, version).config.input}"
        yield f"statistics {[found.version for found in client.get_inference_statistics(model, version).model_stats]}"
        # a Triton lists what lies in its own repository, not what it was sent
        yield f"index {type(client.get_model_repository_index()).__name__}"
        for compression in COMPRESSIONS:
            result = client.infer(inputs=_input(over_grpc, rows=ROWS), compression_algorithm=compression, **asked)
            yield f"infer, {compression}: {_told(result)}"
        answers: queue.Queue[Any] = queue.Queue()
        client.async_infer(
            inputs=_input(over_grpc), callback=lambda result, error: answers.put(error or result), **asked
        )
        yield f"callback: {_told(answers.get())}"
        client.start_stream(lambda result, error: answers.put(error or result))
        for number in range(3):
            client.async_stream_infer(inputs=_input(over_grpc), request_id=str(number), **asked)
        for _ in range(3):
            result = answers.get()
            said = result.get_response()
            yield f"stream: {said.id} {_told(result)} last {said.parameters['triton_final_response'].bool_param}"
        client.async_stream_infer(model_name="nobody", inputs=_input(over_grpc))
        yield f"stream, refused: {type(answers.get()).__name__}"
        client.stop_stream()
        try:
            client.infer("nobody", _input(over_grpc))
        except over_grpc.InferenceServerException as refused:
            yield f"refused: {refused.status()}"


async def by_grpc_aio(address: str, model: str, version: str) -> list[str]:
    async with over_grpc_aio.InferenceServerClient(address) as client:
        _introduce(client)
        result = await client.infer(model, _input(over_grpc), model_version=version)

        async def requests() -> Any:
            for number in range(2):
                yield {
                    "model_name": model,
                    "model_version": version,
                    "inputs": _input(over_grpc),
                    "request_id": str(number),
                }

        streamed = [answer async for answer, _ in client.stream_infer(requests())]
        return [f"aio: {_told(result)}", *(f"aio, stream: {_told(answer)}" for answer in streamed)]


def by_http(address: str, model: str, version: str) -> Iterator[str]:
    asked = {"model_name": model, "model_version": version}
    with over_http.InferenceServerClient(address) as client:
        _introduce(client)
        yield f"live {client.is_server_live()}, ready {client.is_server_ready()}"
        yield f"model ready {client.is_model_ready(model, version)}"
        yield f"metadata {client.get_model_metadata(model, version)['inputs']}"
        yield f"config {client.get_model_config(model, version)['input'][0]['dims']}"
        statistics = client.get_inference_statistics(model, version)["model_stats"]
        yield f"statistics {[found['version'] for found in statistics]} {sorted(statistics[0]['inference_stats'])}"
        yield f"index {type(client.get_model_repository_index()).__name__}"
        for binary in (True, False):
            for compression in COMPRESSIONS:
                result = client.infer(
                    inputs=_input(over_http, rows=ROWS, binary_data=binary),
                    outputs=[over_http.InferRequestedOutput("Y", binary_data=binary)],
                    request_compression_algorithm=compression,
                    response_compression_algorithm=compression,
                    request_id="7",
                    **asked,
                )
                yield f"infer, binary {binary}, {compression}: {_told(result)} {result.get_response()['id']}"
        yield f"infer, all outputs: {_told(client.infer(inputs=_input(over_http), **asked))}"
        yield f"later: {_told(client.async_infer(inputs=_input(over_http), **asked).get_result())}"
        for name, inputs in (("nobody", _input(over_http)), (model, [])):
            try:
                client.infer(name, inputs)
            except over_http.InferenceServerException as refused:
                yield f"refused: {refused.status()}"


async def by_http_aio(address: str, model: str, version: str) -> list[str]:
    async with over_http_aio.InferenceServerClient(address) as client:
        _introduce(client)
        return [f"aio: {_told(await client.infer(model, _input(over_http), model_version=version))}"]


def walk(grpc: str, http: str, model: str, version: str) -> Iterator[str]:
    """A line for each answer."""
    yield from (f"grpc {line}" for line in by_grpc(grpc, model, version))
    yield from (f"grpc {line}" for line in asyncio.run(by_grpc_aio(grpc, model, version)))
    yield from (f"http {line}" for line in by_http(http, model, version))
    yield from (f"http {line}" for line in asyncio.run(by_http_aio(http, model, version)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("version")
    parser.add_argument("--grpc", default=INGRESS)
    parser.add_argument("--http", default=INGRESS)
    given = parser.parse_args()
    for line in walk(given.grpc, given.http, given.model, given.version):
        print(line)


if __name__ == "__main__":
    main()
