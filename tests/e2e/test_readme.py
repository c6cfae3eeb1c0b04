"""The README's own words, run as they stand against the stack."""

import json
import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from deploy.local.ports import Ports
from tests.models import infer_request
from tests.polling import eventually
from tests.serving import await_servers
from tests.serving import explain as served

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FLOWERS = 150


def section(title):
    return re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^##? |^### |\Z)", README, re.MULTILINE | re.DOTALL).group(1)


def commands(text):
    """The console commands of a section, without their prompts."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


# of the section, what stands before says how to start the stack and to make a file
OWN_MODEL = section("Your own model").split("<!--", 1)[1]


@pytest.fixture(scope="module")
def environment(stack):
    """What a README's command finds: the test stack in the place of the default one."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "gen", "clients/python")),
        "PENSTOCK_ADDRESS": stack.address("ingress"),
        "PENSTOCK_API_KEY": "nobody asks for it here",
        "COLUMNS": "200",
    }


@pytest.fixture(scope="module")
def shell(stack, environment, tmp_path_factory):
    """Runs a README's command, all of them in one folder that was empty."""
    here = tmp_path_factory.mktemp("readme")

    def run(command):
        command = command.replace("localhost:10000", stack.address("ingress"))
        done = subprocess.run(
            ["bash", "-c", command], cwd=here, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="module")
def registered(shell):
    """What the first commands of "Your own model" print; the model `iris` is served."""
    shell("python -m examples.iris iris.onnx")
    return shell(commands(OWN_MODEL)[0])


def python(shell, text):
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return shell(f"cat > block.py <<'END'\n{code}\nEND\npython block.py")


@pytest.mark.needs("grpcurl")
def test_your_own_model(shell, registered):
    _, grpcurl, predict, *_, explain, spend = commands(OWN_MODEL)
    assert "X FP32[4] -> label INT64[], probabilities FP32[3]" in registered
    assert "a READY, b READY" in registered
    assert '"model_version": "1"' in shell(grpcurl)
    assert "by version 1" in python(shell, OWN_MODEL)
    assert shell(predict).startswith("setosa (setosa 0.98")
    assert "default" in shell(explain)
    assert "iris" not in shell(spend).splitlines()[0]


@pytest.mark.needs("curl")
@pytest.mark.usefixtures("registered")
def test_your_own_model_in_json(shell):
    *_, predict, route, health, _, _ = commands(OWN_MODEL)
    answer = json.loads(shell(predict))
    assert (answer["prediction"], answer["model_version"]) == ("setosa", "1")
    assert json.loads(shell(route))["route"]["default_version"] == "1"
    assert json.loads(shell(health))["checks"]


def test_an_experiment(shell, registered, penstock):
    text = section("An experiment")
    make, register, create, show, explain, stop = commands(text)
    shell(make)
    assert "iris has a route already" in shell(register)
    assert "running" in shell(create)
    eventually(
        lambda: any(share.variant == "sepals" for share in served(penstock, "iris").shares),
        within=30,
        message="Envoy splits by the experiment",
    )
    python(shell, text)
    eventually(lambda: "wait for their exposure" not in shell(show), within=30, message="every outcome found its unit")
    shown = {line[:11].strip(): line[11:].split() for line in shell(show).splitlines()}
    assert sum(map(int, shown["outcomes"])) == FLOWERS
    assert shown["units"] == shown["outcomes"]
    assert "no winner yet" in shell(show)
    assert "sepals-only, variant" in shell(explain)
    assert "stopped" in shell(stop)


def test_a_triton_that_is_already_running(shell, environment, penstock, infer):
    start, add, register, explain = commands(section("A Triton that is already running"))
    port = str(Ports.free()["triton_a_grpc"])
    words = start.replace("8101", port).split()
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as elsewhere:
        try:
            assert f"127.0.0.1:{port}" in elsewhere.stdout.readline()
            shell(add.replace("8101", port))
            assert "mine READY" in shell(register)
            await_servers(penstock, "theirs", 1)
            assert "mine" in shell(explain)
            assert infer(infer_request("theirs"), timeout=10).model_version == "1"
            for command in re.findall(r"`(penstock [^`]+)`", section("A Triton that is already running")):
                eventually(partial(succeeds, shell, command), within=30, message=command)
        finally:
            elsewhere.terminate()


def succeeds(shell, command):
    """Whether the command has succeeded: a server is forgotten only once its versions are off it."""
    try:
        shell(command)
    except AssertionError:
        return False
    return True
