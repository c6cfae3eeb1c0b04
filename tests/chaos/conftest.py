"""The whole stack and one model with an experiment on it, to be broken."""

import pytest

from penstock_client import Penstock
from tests.serving import halves, serve_shift, start_experiment


@pytest.fixture(scope="session")
def penstock(stack):
    with Penstock(stack.address("ingress")) as client:
        yield client


@pytest.fixture(scope="session")
def model(penstock):
    serve_shift(penstock, "hardy", [1, 2])
    start_experiment(penstock, halves("hardy-halves", "hardy"))
    return "hardy"
