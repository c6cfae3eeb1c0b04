"""The two virtual environments, made from nothing but Python and its locks; instant when they are current.

Runs before anything is installed: standard library only. Two runs at once wait for each other.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT))

from deploy.triton import backend  # noqa: E402  itself standard library only

UV = "uv==0.13.9"
# a change in what this file does to an environment
RECIPE = 2


class SetUpFailed(Exception):
    """What is missing, and what to install."""


@dataclass(frozen=True)
class Environment:
    """One virtual environment and what decides its content."""

    folder: Path
    lock: Path
    editable: bool

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def stamp(self) -> Path:
        return self.folder / ".penstock-stamp"

    def wanted(self) -> str:
        """Changes whenever the environment must: its scripts carry the checkout's path."""
        content = hashlib.sha256(f"{RECIPE}\n{UV}\n{self.folder}\n".encode())
        content.update(self.lock.read_bytes())
        if self.editable:
            content.update((CHECKOUT / "pyproject.toml").read_bytes())
        return content.hexdigest()

    def current(self) -> bool:
        return self.stamp.exists() and self.stamp.read_text() == self.wanted() and self.python.exists()

    def healthy(self) -> bool:
        """Whether there is an environment whose interpreter still runs."""
        if not self.python.exists():
            return False
        asked = [str(self.python), "-c", "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))"]
        return subprocess.run(asked, check=False, capture_output=True).returncode == 0


PRODUCT = Environment(CHECKOUT / ".venv", CHECKOUT / "requirements.lock", editable=True)
TRITON = Environment(CHECKOUT / ".venv-triton", CHECKOUT / "deploy" / "triton" / "requirements.lock", editable=False)


def main() -> int:
    os.umask(0o022)  # root's PostgreSQL runs as another user, who must be able to read its programs
    checkout = os.open(CHECKOUT, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(checkout, fcntl.LOCK_EX)
    stale = [environment for environment in (PRODUCT, TRITON) if not environment.current()]
    if not stale:
        return 0
    try:
        check_python()
        for environment in stale:
            make(environment)
    except (SetUpFailed, backend.NoSharedPython) as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    return 0


def check_python() -> None:
    """Raises SetUpFailed or NoSharedPython with the package to install."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if importlib.util.find_spec("ensurepip") is None:
        raise SetUpFailed(
            f"This Python ({sys.executable}) cannot make virtual environments: it has no ensurepip."
            f" Install it (Debian, Ubuntu: apt install python{version}-venv), or set PYTHON to another;"
            " then run this again."
        )
    backend.describe(Path(sys.executable))


def make(environment: Environment) -> None:
    """Bring the environment to its lock, whatever was there. Raises SetUpFailed."""
    say(f"setting up {environment.folder.name} (the first time takes a minute or two)")
    environment.stamp.unlink(missing_ok=True)
    if not environment.healthy():
        venv.create(environment.folder, clear=True, symlinks=True, with_pip=environment.editable)
    uv = PRODUCT.folder / "bin" / "uv"
    settings = registry_settings()
    if environment.editable:
        run([str(environment.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV], settings)
    target = ["--quiet", "--python", str(environment.python)]
    run([str(uv), "pip", "sync", *target, str(environment.lock)], settings)
    if environment.editable:
        run([str(uv), "pip", "install", *target, "--no-deps", "--editable", str(CHECKOUT)], settings)
        # Envoy's filters, so that the first `make up` need not wait for their compiler
        run([str(environment.python), "-m", "deploy.envoy.filter.build"], settings)
    environment.stamp.write_text(environment.wanted())


def registry_settings() -> dict[str, str]:
    """What pip was told about mirrors and certificates, for uv, which does not read pip's configuration."""
    listed = subprocess.run(
        [str(PRODUCT.python), "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
    ).stdout
    told = dict(re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", listed, re.MULTILINE))
    names = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "cert": "SSL_CERT_FILE",
    }
    settings = {variable: told[name] for name, variable in names.items() if name in told}
    return {variable: value for variable, value in settings.items() if variable not in os.environ}


def run(command: list[str], settings: dict[str, str]) -> None:
    inherited = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    done = subprocess.run(command, check=False, env={**inherited, **settings}, cwd=CHECKOUT, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise SetUpFailed(f"`{' '.join(command)}` failed; what it says stands above")


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
