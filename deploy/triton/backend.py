"""Triton's Python backend, put together from the wheel for the Python that will run the models.

The wheel ships one stub for each version of Python apart from the backend; Triton looks for it inside the
backend's folder. The stub needs the interpreter's shared library, which some distributions package apart.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

ONNX_MODEL = Path(__file__).parent / "onnx_model" / "model.py"

# asked of the interpreter that the stub embeds, which need not be the one that runs this
_DESCRIBE = """
import ctypes, json, pathlib, sys, sysconfig
get = sysconfig.get_config_var
version = "{}.{}".format(*sys.version_info)
name = f"libpython{version}.so.1.0"
folders = [get("LIBDIR") or "", f"{get('LIBDIR')}/{get('MULTIARCH')}", f"{sys.base_prefix}/lib"]
found = next((f for f in folders if f and (pathlib.Path(f) / name).exists()), None)
if found is None:
    try:
        ctypes.CDLL(name)
        found = ""
    except OSError:
        pass
print(json.dumps({"version": version, "library": name, "folder": found}))
"""


class NoSharedPython(Exception):
    """The interpreter has no shared libpython, so the stub cannot run."""


def program(venv: Path) -> Path:
    """The server's binary in a virtual environment that has nvidia-pytriton."""
    return _site(venv) / "pytriton" / "tritonserver" / "bin" / "tritonserver"


def assemble(venv: Path, backends: Path) -> None:
    """Make `backends` a complete backend directory: `python`, and `onnxruntime` on top of it.

    Leaves alone what is there already. Raises NoSharedPython.
    """
    python = describe(_python(venv))
    shipped = _site(venv) / "pytriton" / "tritonserver"
    stub = shipped / "python_backend_stubs" / python["version"] / "triton_python_backend_stub"
    made = backends / "python" / stub.name
    if not (made.exists() and made.stat().st_size == stub.stat().st_size):
        shutil.rmtree(backends, ignore_errors=True)
        shutil.copytree(shipped / "backends" / "python", made.parent)
        # last, and whole at once: its presence says that the rest is there
        _place(stub, made, mode=0o755)
    (backends / "onnxruntime").mkdir(exist_ok=True)
    _place(ONNX_MODEL, backends / "onnxruntime" / ONNX_MODEL.name, mode=0o644)


def environment(venv: Path) -> dict[str, str]:
    """What tritonserver must find in its environment. Raises NoSharedPython.

    The stub finds its packages through PATH: without the environment's `bin` first, models die with
    "No module named numpy". The wheel's bundled CUDA runtime is needed on a CPU too.
    """
    libraries = [str(_site(venv) / "nvidia_pytriton.libs"), describe(_python(venv))["folder"]]
    path = [str(venv / "bin"), os.environ.get("PATH", os.defpath)]
    return {"PATH": ":".join(path), "LD_LIBRARY_PATH": ":".join(folder for folder in libraries if folder)}


def _place(source: Path, target: Path, mode: int) -> None:
    partial = target.with_suffix(".new")
    shutil.copyfile(source, partial)
    partial.chmod(mode)
    partial.rename(target)


def _python(venv: Path) -> Path:
    return venv / "bin" / "python"


def _site(venv: Path) -> Path:
    found = sorted(venv.glob("lib/python3.*/site-packages"))
    if not found:
        raise FileNotFoundError(f"{venv} is no virtual environment: run `make setup`")
    return found[0]


def describe(interpreter: Path) -> dict[str, str]:
    """Its `version` (3.11), its shared `library` and the `folder` of that, empty where the loader finds it by itself.

    Raises NoSharedPython.
    """
    command = [str(interpreter), "-c", _DESCRIBE]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if answer["folder"] is None:
        raise NoSharedPython(
            f"Triton's Python backend needs {answer['library']}, which this Python does not have."
            f" Install it (Debian, Ubuntu: apt install libpython{answer['version']};"
            f" Fedora: dnf install python{answer['version']}-libs;"
            " pyenv: PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install …) and run this again."
        )
    return answer
