"""Starts each peer with each of its settings; they stand idle while others are called."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.local.environments import CHECKOUT, Environment, make
from deploy.local.ports import Ports

HERE = Path(__file__).resolve().parent
MODELS = HERE / "models"
CORES = 2
"""For all that is compared, and for the client with them."""
START_SECONDS = 120.0
MLSERVER_OK = r'grpc_server_handled_total\{(?=[^}]*code="OK")(?=[^}]*grpc_method="ModelInfer")[^}]*\} (\S+)'
KSERVE_OK = r"request_predict_seconds_count\{[^}]*\} (\S+)"

Command = Callable[[Path, int, int], list[str]]
"""From a folder of its own, the port of gRPC and that of HTTP; its metrics are on the port above."""


class NotStarted(Exception):
    """A peer did not come up; the message ends with what it wrote."""


@dataclass(frozen=True)
class Peer:
    """One server, or one for each core on the same gRPC port."""

    kind: str
    setting: str
    grpc: int
    metrics: tuple[int, ...]
    successes: str

    @property
    def plain(self) -> bool:
        return len(self.metrics) == 1

    def succeeded(self) -> int:
        """Inferences that were OK, by its own metrics."""
        pages = (_get(f"http://127.0.0.1:{port}/metrics") for port in self.metrics)
        return sum(int(float(count)) for page in pages for count in re.findall(self.successes, page))


@contextlib.contextmanager
def peers(home: Path) -> Iterator[list[Peer]]:
    """All of them, ready to infer. Raises NotStarted and SetUpFailed."""
    mlserver, kserve = _environment("mlserver"), _environment("kserve")
    with contextlib.ExitStack() as running:

        def start(kind: str, setting: str, command: Command, successes: str, servers: int = 1) -> Peer:
            grpc = min(Ports.free().numbers.values())
            https = [grpc + 1 + 2 * n for n in range(servers)]
            for http in https:
                folder = home / f"{kind}-{http}"
                folder.mkdir()
                running.enter_context(_server(command(folder, grpc, http), folder, http))
            return Peer(kind, setting, grpc, tuple(http + 1 for http in https), successes)

        yield [
            *(
                start("MLServer", setting, _mlserver(mlserver, workers), MLSERVER_OK, servers)
                for setting, workers, servers in (
                    ("no workers", 0, 1),
                    ("1 worker (default)", 1, 1),
                    (f"{CORES} workers", CORES, 1),
                    ("a server for each core", 0, CORES),
                )
            ),
            *(
                start("KServe", setting, _kserve(kserve, workers), KSERVE_OK, servers)
                for setting, workers, servers in (
                    ("1 worker (default)", 1, 1),
                    (f"{CORES} workers", CORES, 1),
                    ("a server for each core", 1, CORES),
                )
            ),
        ]


def _environment(kind: str) -> Path:
    """Its Python, installed on first use."""
    environment = Environment(CHECKOUT / f".venv-peers-{kind}", HERE / f"{kind}.lock", editable=False)
    if not environment.current():
        make(environment)
    return environment.python


def _mlserver(python: Path, workers: int) -> Command:
    def command(folder: Path, grpc: int, http: int) -> list[str]:
        settings = {
            "debug": False,  # by default it writes a line for each call
            "host": "127.0.0.1",
            "grpc_port": grpc,
            "http_port": http,
            "metrics_port": http + 1,
            "metrics_dir": str(folder / "metrics"),
            "environments_dir": str(folder / "environments"),
            "parallel_workers": workers,
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        model = {"name": "bench", "implementation": "identity_mlserver.Identity"}
        (folder / "model-settings.json").write_text(json.dumps(model))
        return [str(python.with_name("mlserver")), "start", str(folder)]

    return command


def _kserve(python: Path, workers: int) -> Command:
    def command(_: Path, grpc: int, http: int) -> list[str]:
        settings = {
            "model_name": "bench",
            "grpc_port": grpc,
            "http_port": http,
            "workers": workers,
            "enable_latency_logging": False,  # by default it writes a line for each call
        }
        return [str(python), str(MODELS / "identity_kserve.py"), *(f"--{name}={is_}" for name, is_ in settings.items())]

    return command


@contextlib.contextmanager
def _server(command: list[str], folder: Path, http: int) -> Iterator[None]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "PYTHONPATH")}
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=folder, env={**inherited, "PYTHONPATH": str(MODELS)}, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(f"http://127.0.0.1:{http}/v2/models/bench/ready", f"http://127.0.0.1:{http + 1}/metrics"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"{' '.join(command)}\n{log.read_text()[-4000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(*urls: str) -> bool:
    try:
        for url in urls:
            _get(url)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False
    return True


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as reply:  # noqa: S310  an address of our own
        return reply.read().decode()
