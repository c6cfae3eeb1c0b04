"""The environment of model_serving."""

from datetime import timedelta

import pytest

from libs.config import ConfigError
from services.model_serving.config import read

LEAST = {"PENSTOCK_POSTGRES_DSN": "postgres:///x", "PENSTOCK_ARTIFACTS_DIR": "/tmp/artifacts"}


def test_what_is_needed_and_what_is_not():
    config = read({**LEAST, "PENSTOCK_TRITON_SERVERS": "a=127.0.0.1:8001,b=127.0.0.1:8011"})
    assert config.seeds == {"a": "127.0.0.1:8001", "b": "127.0.0.1:8011"}
    assert config.address.listen == "127.0.0.1:50053"
    assert (config.backend.name, config.backend.runner) == ("onnxruntime", "")
    assert (config.drain, config.workers) == (timedelta(seconds=2), 1)


def test_every_fault_is_said_at_once():
    with pytest.raises(ConfigError) as raised:
        read({"PENSTOCK_MESH_ADDRESS": "nowhere", "PENSTOCK_UNLOAD_DRAIN_SECONDS": "soon"})
    for name in ("POSTGRES_DSN", "ARTIFACTS_DIR", "MESH_ADDRESS", "UNLOAD_DRAIN_SECONDS"):
        assert f"PENSTOCK_{name}" in str(raised.value)


def test_a_runner_goes_with_the_python_backend(tmp_path):
    runner = tmp_path / "model.py"
    runner.write_text("code")
    config = read({**LEAST, "PENSTOCK_ONNX_BACKEND": "python", "PENSTOCK_ONNX_RUNNER": str(runner)})
    assert config.backend.runner == "code"
    for incomplete in ({"PENSTOCK_ONNX_BACKEND": "python"}, {"PENSTOCK_ONNX_RUNNER": str(runner)}):
        with pytest.raises(ConfigError, match="go together"):
            read({**LEAST, **incomplete})
    with pytest.raises(ConfigError, match="ONNX_RUNNER"):
        read({**LEAST, "PENSTOCK_ONNX_RUNNER": str(tmp_path / "nothing")})
