"""The client as others get it: a wheel, beside what it says that it needs and nothing else of ours."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from penstock.model_serving.v1.model_pb2 import Model
from penstock.model_serving.v1.model_registry_service_pb2 import CreateModelRequest
from penstock.routing.v1.route_pb2 import Route
from penstock.routing.v1.routing_service_pb2 import CreateRouteRequest
from tests.serving import await_servers, deploy, register_shift

ROOT = Path(__file__).parents[2]
CALL = """
import importlib.util
import sys

import penstock_client
from penstock.model_serving.v1.prediction_service_pb2 import PredictRequest

assert penstock_client.__file__.startswith(sys.argv[2]), penstock_client.__file__
assert not any(importlib.util.find_spec(name) for name in ("libs", "services", "clients", "deploy"))
request = PredictRequest(model="number", features={"X": penstock_client.value(1.5)})
with penstock_client.Penstock(sys.argv[1], deadline_seconds=20) as penstock:
    print(penstock.predictions.Predict(request).value)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder that holds the wheel's content and, as links, the packages that it requires."""
    built, folder = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("installed")
    # the build's own requirement, hatchling, is in the lock: nothing is fetched
    pip("wheel", "--no-build-isolation", "--wheel-dir", built, ROOT / "clients" / "python")
    (wheel,) = built.iterdir()
    pip("install", "--target", folder, wheel)
    (client,) = metadata.distributions(path=[str(folder)])
    for name in required(client.requires):
        for file in metadata.files(name):
            link = folder / file
            if ".." not in file.parts and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.locate())
    return folder


@pytest.fixture(scope="module")
def number(penstock):
    """A model of one number that answers it plus 1."""
    penstock.models.CreateModel(CreateModelRequest(model=Model(name="number")))
    register_shift(penstock, "number", 1, width=1)
    deploy(penstock, "number", "1")
    penstock.routing.CreateRoute(CreateRouteRequest(route=Route(model="number", default_version="1")))
    await_servers(penstock, "number", 2)


def pip(command, *arguments):
    words = [sys.executable, "-m", "pip", command, "-q", "--no-deps", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run([*words, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def required(requirements):
    """The names of these packages and of all that they need."""
    found, left = set(), list(requirements)
    while left:
        wanted = Requirement(left.pop())
        if (wanted.marker is None or wanted.marker.evaluate({"extra": ""})) and wanted.name not in found:
            found.add(wanted.name)
            left += metadata.requires(wanted.name) or ()
    return found


def test_the_wheel_predicts_with_what_it_requires_alone(installed, number, stack, tmp_path):
    done = subprocess.run(
        # -S: the environment's own packages, and with them the checkout, are out of sight
        [sys.executable, "-S", "-c", CALL, stack.address("ingress"), str(installed)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "2.5"
