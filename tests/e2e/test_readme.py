"""The README's own words, run as they stand against the stack."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import running
from tests.models import answered_by, infer_request, shift
from tests.polling import eventually
from tests.serving import await_servers

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def section(title):
    return re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^##? |^### |\Z)", README, re.MULTILINE | re.DOTALL).group(1)


def commands(text):
    """The console commands of a section, without their prompts."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.fixture
def shell(stack, tmp_path):
    """Runs a README's command in an empty folder, with the test stack in the place of the default one."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in (".", "gen", "clients/python")),
        "PENSTOCK_ADDRESS": stack.address("ingress"),
        "COLUMNS": "200",
    }

    def run(command, here=tmp_path):
        command = command.replace("localhost:10000", stack.address("ingress"))
        done = subprocess.run(
            ["bash", "-c", command], cwd=here, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


@pytest.mark.needs("grpcurl")
def test_your_own_model(shell):
    text = section("Your own model")
    register, grpcurl, predict, explain, spend = commands(text.split("<!--", 1)[1])
    (python,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    shell("python -m examples.iris iris.onnx")
    registered = shell(register)
    assert "X FP32[4] -> label INT64[], probabilities FP32[3]" in registered
    assert "a READY, b READY" in registered
    assert '"model_version": "1"' in shell(grpcurl)
    by_tensor = shell(f"cat > call.py <<'END'\n{python}\nEND\npython call.py")
    assert "by version 1" in by_tensor
    assert shell(predict).startswith("setosa (setosa 0.98")
    assert "default" in shell(explain)
    assert "iris" not in shell(spend).splitlines()[0]


def test_a_triton_that_is_already_running(shell, tmp_path_factory, penstock, infer):
    with running(tmp_path_factory.mktemp("elsewhere"), ("triton-a",)) as elsewhere:
        folder = elsewhere.repository("a") / "theirs"
        (folder / "1").mkdir(parents=True)
        (folder / "1" / "model.onnx").write_bytes(shift(1))
        (folder / "config.pbtxt").write_text(CONFIGURATION)
        add, register, explain = commands(section("A Triton that is already running"))
        shell(add.replace("localhost:8101", f"localhost:{elsewhere.ports['triton_a_grpc']}"))
        assert "mine READY" in shell(register)
        await_servers(penstock, "theirs", 1)
        assert "mine" in shell(explain)
        assert answered_by(infer(infer_request("theirs"), timeout=10)) == "1"
        shell("penstock route delete theirs && penstock deploy delete theirs 1")
        eventually(lambda: shell("penstock deploy list theirs").startswith("Nothing"), within=30)
        shell("penstock deploy remove-server mine")


CONFIGURATION = """
name: "theirs"
backend: "onnxruntime"
max_batch_size: 8
input [{ name: "X" data_type: TYPE_FP32 dims: [4] }]
output [{ name: "Y" data_type: TYPE_FP32 dims: [4] }]
"""
