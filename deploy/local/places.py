"""Where one stack keeps its files: a durable home, and a short place that servers can be pointed at."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
SOCKET_PATH_LIMIT = 107
LONGEST_BASE = 48


class UnusableDirectory(Exception):
    """No directory could be found, or trusted, for the running stack."""


@dataclass(frozen=True)
class Places:
    """The directories of one stack.

    `home` outlives a reboot and may have spaces in its path. `run` is short, has no spaces and holds only what
    can be made again: sockets, and links through which servers that choke on spaces see the rest.
    """

    home: Path
    run: Path

    @classmethod
    def of(cls, home: Path) -> Places:
        """The places of the stack that lives in `home`; creates them. Raises UnusableDirectory."""
        home = home.absolute()
        for folder in (home, home / "logs", home / "data"):
            folder.mkdir(parents=True, exist_ok=True)
            if not os.access(folder, os.W_OK):
                raise UnusableDirectory(
                    f"{folder} belongs to another user: remove it as that user, or set PENSTOCK_HOME"
                )
        run = _known_run(home)
        if run is None:
            run = _base() / f"{_slug(home)}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:8]}"
            shutil.rmtree(run, ignore_errors=True)  # what is left of a home that was removed: its database may lie here
        run.mkdir(parents=True, exist_ok=True)
        run.chmod(_mode())
        _point(home / "run", run)
        _point(run / "home", home)
        _point(run / "checkout", CHECKOUT)
        return cls(home, run)

    @property
    def short_home(self) -> Path:
        """`home`, by a path without spaces."""
        return self.run / "home"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def data(self, name: str) -> Path:
        """A durable directory, by a path without spaces; created."""
        folder = self.short_home / "data" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def short_checkout(self) -> Path:
        """The checkout, by a path without spaces."""
        return self.run / "checkout"

    @property
    def triton_environment(self) -> Path:
        return self.short_checkout / ".venv-triton"


def default_home() -> Path:
    """`.penstock` in the checkout, or PENSTOCK_HOME."""
    return Path(os.environ.get("PENSTOCK_HOME") or CHECKOUT / ".penstock")


def _slug(home: Path) -> str:
    name = home.parent.name if home.name == ".penstock" else home.name
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:24] or "stack"


def _known_run(home: Path) -> Path | None:
    """Where this home's stack ran last, so that another TMPDIR in another shell does not split it in two."""
    link = home / "run"
    if not link.is_symlink():
        return None
    run = link.readlink()
    # a copied or moved checkout still carries the link of the one it came from
    owner = run / "home"
    if owner.is_symlink() and owner.readlink() == home and run.stat().st_uid == os.geteuid():
        return run
    return None


def _base() -> Path:
    """The user's runtime directory, else a directory of the user's own in the temporary one."""
    mine, root = f"penstock-{os.geteuid()}", os.geteuid() == 0
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    candidates = [Path(tempfile.gettempdir()) / mine, Path("/tmp") / mine]  # noqa: S108  made and checked below
    # root's runtime directory is closed to the user that Postgres must run as
    if runtime and not root:
        candidates.insert(0, Path(runtime) / "penstock")
    for folder in candidates:
        if len(str(folder)) > LONGEST_BASE or re.search(r"\s", str(folder)) or not os.access(folder.parent, os.W_OK):
            continue
        if root and not open_to_all(folder.parent):
            continue
        folder.mkdir(mode=_mode(), exist_ok=True)
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise UnusableDirectory(f"{folder} exists and is not only yours: remove it, or set TMPDIR")
        folder.chmod(_mode())
        return folder
    tried = ", ".join(str(c) for c in candidates)
    raise UnusableDirectory(f"no short writable directory without spaces for the running stack (tried {tried})")


def open_to_all(folder: Path) -> bool:
    """Whether a user who owns nothing here could walk to this folder."""
    real = folder.resolve()
    return all(step.stat().st_mode & 0o001 for step in (real, *real.parents))


def _mode() -> int:
    # the user that root's PostgreSQL runs as must get through
    return 0o755 if os.geteuid() == 0 else 0o700


def _point(link: Path, target: Path) -> None:
    if link.is_symlink() and link.readlink() == target:
        return
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.symlink_to(target)
    fresh.replace(link)


def admin_key(home: Path) -> Path:
    """The file with the first key of all, which the routing of a stack in `home` makes where nobody has one."""
    return home / "data" / "routing" / "admin.key"
