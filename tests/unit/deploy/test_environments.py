from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.local import environments
from deploy.local.environments import Environment, SetUpFailed
from deploy.triton import backend


def test_an_environment_is_current_until_its_lock_changes(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("one==1")
    environment = Environment(tmp_path / "venv", lock, editable=False)
    assert not environment.current()
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(sys.executable)
    environment.stamp.write_text(environment.wanted())
    assert environment.current()
    lock.write_text("one==2")
    assert not environment.current()


def test_a_moved_environment_is_made_anew(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.touch()
    here, there = (Environment(tmp_path / name, lock, editable=False) for name in ("here", "there"))
    assert here.wanted() != there.wanted()


def test_an_interpreter_that_is_gone_makes_it_unhealthy(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "venv", tmp_path / "lock", editable=False)
    assert not environment.healthy()
    environment.python.parent.mkdir(parents=True)
    environment.python.symlink_to(tmp_path / "removed python")
    assert not environment.healthy()


def test_a_python_without_ensurepip_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SetUpFailed, match=rf"apt install python3.{sys.version_info[1]}-venv"):
        environments.check_python()


def test_a_python_without_its_library_says_what_to_install(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh\necho '{"version": "3.11", "library": "libpython3.11.so.1.0", "folder": null}'\n""")
    python.chmod(0o755)
    with pytest.raises(backend.NoSharedPython, match=r"libpython3.11.so.1.0.*apt install libpython3.11"):
        backend.describe(python)


def test_what_pip_was_told_is_passed_on_unless_uv_was_told_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.invalid/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/some/wheels")
    monkeypatch.setenv("UV_FIND_LINKS", "/other/wheels")
    settings = environments.registry_settings()
    assert settings["UV_DEFAULT_INDEX"] == "https://mirror.invalid/simple"
    assert "UV_FIND_LINKS" not in settings
