"""The whole stack, and models that are served by it."""

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from penstock_client import Penstock
from tests.serving import halves, serve_shift, start_experiment


@pytest.fixture(scope="session")
def penstock(stack):
    with Penstock(stack.address("ingress")) as client:
        yield client


@pytest.fixture(scope="session")
def plain(penstock):
    """A model with versions 1 and 2 that is in no experiment; its name."""
    serve_shift(penstock, "plain", [1, 2])
    return "plain"


@pytest.fixture(scope="session")
def split(penstock):
    """The allocation of a running experiment on the model `split`: 1 and 2 on 80 % of units, else version 3."""
    serve_shift(penstock, "split", [3, 1, 2])
    return start_experiment(penstock, halves("split-halves", "split", coverage=8000))


@pytest.fixture(scope="session")
def infer(stack):
    """ModelInfer through the ingress over a raw channel; nothing is retried."""
    options = [("grpc.enable_retries", 0), ("grpc.max_metadata_size", 64 * 1024)]
    with grpc.insecure_channel(stack.address("ingress"), options=options) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
