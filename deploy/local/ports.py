"""Every port of the stack by name; each can be set, all can be moved together."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psutil

SERVICES = ("routing", "feature_store", "model_serving", "experimentation", "cost_tracking", "health_monitoring")
TRITONS = ("a", "b")

DEFAULTS: Mapping[str, int] = {
    "ingress": 10000,
    "mesh": 10001,
    "envoy_admin": 9901,
    **{name: 50051 + n for n, name in enumerate(SERVICES)},
    "keeper": 50057,
    "model_serving_http": 50080,
    "health_monitoring_http": 50081,
    **{f"{name}_metrics": 51051 + n for n, name in enumerate((*SERVICES, "logship", "keeper"))},
    "triton_a_http": 8000,
    "triton_a_grpc": 8001,
    "triton_a_metrics": 8002,
    "triton_b_http": 8010,
    "triton_b_grpc": 8011,
    "triton_b_metrics": 8012,
    "redis": 16379,
}
# how long a closed outgoing connection blocks its port, and a little
LINGER_SECONDS = 65.0
PAUSE_SECONDS = 0.2
# below Linux's ephemeral range: there an outgoing connection may sit on a port while its server restarts
FREE_RANGE = range(12_000, 32_000)


class BadPort(Exception):
    """A port setting that is no port, or the same port twice."""


class PortInUse(Exception):
    """Ports that other processes hold; the message names the part that wants each."""


@dataclass(frozen=True)
class Ports:
    """The port of each name in DEFAULTS."""

    numbers: Mapping[str, int]

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Ports:
        """Defaults moved by PENSTOCK_PORT_OFFSET, single ones replaced by PENSTOCK_PORT_<NAME>.

        Raises BadPort, which lists every fault at once.
        """
        faults: list[str] = []
        offset = _number(environment, "PENSTOCK_PORT_OFFSET", 0, faults)
        numbers = {
            name: _number(environment, variable(name), default + offset, faults) for name, default in DEFAULTS.items()
        }
        faults += [f"{variable(n)}: {p} is not a port" for n, p in numbers.items() if not 0 < p < 65536]
        seen: dict[int, str] = {}
        for name, port in numbers.items():
            other = seen.setdefault(port, name)
            if other != name:
                faults.append(f"{variable(name)} and {variable(other)} are both {port}")
        if faults:
            raise BadPort("; ".join(faults))
        return cls(numbers)

    @classmethod
    def free(cls) -> Ports:
        """As many ports that nobody uses, for a stack beside the first."""
        while True:
            base = random.choice(FREE_RANGE)  # noqa: S311  spreads test runs, no secret
            numbers = {name: base + n for n, name in enumerate(DEFAULTS)}
            if all(holds_nobody(port) for port in numbers.values()):
                return cls(numbers)

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]

    def environment(self) -> dict[str, str]:
        """Variables from which `from_environment` makes these same ports."""
        return {"PENSTOCK_PORT_OFFSET": "0", **{variable(n): str(p) for n, p in self.numbers.items()}}

    def reserve(self, wanted: Iterable[tuple[str, str]], patience: float = LINGER_SECONDS) -> list[socket.socket]:
        """Sockets that keep the ports of `wanted` (part, port name) from every other process until they are closed.

        Linux gives most of our ports to outgoing connections too, and such a connection blocks its port for a minute
        after it was closed. So those are waited for, at most `patience` seconds; a listener is not.
        Raises PortInUse.
        """
        wanted = list(wanted)
        deadline = time.monotonic() + patience
        while taken := [(part, name) for part, name in wanted if not holds_nobody(self[name])]:
            listening = _listening()
            blocked = [(part, name) for part, name in taken if self[name] in listening]
            if blocked or time.monotonic() >= deadline:
                raise PortInUse("\n".join(self._complaint(part, name) for part, name in blocked or taken))
            time.sleep(PAUSE_SECONDS)
        return [_reservation(self[name]) for _, name in wanted]

    def _complaint(self, part: str, name: str) -> str:
        holder = _holders().get(self[name], "a process that this user may not see")
        return (
            f"port {self[name]}, which {part} wants, is in use by {holder};"
            f" stop that, or set {variable(name)} or PENSTOCK_PORT_OFFSET"
        )


def variable(name: str) -> str:
    return f"PENSTOCK_PORT_{name.upper()}"


def holds_nobody(port: int) -> bool:
    """Whether a server could listen on this port of loopback and of every address now."""
    for address in ("127.0.0.1", "0.0.0.0"):
        with socket.socket() as probe:
            # as servers do: connections of the last run in TIME_WAIT are no obstacle
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
                probe.listen(1)
            except OSError:
                return False
    return True


def _number(environment: Mapping[str, str], name: str, default: int, faults: list[str]) -> int:
    text = environment.get(name)
    if text is None or text == "":
        return default
    try:
        return int(text)
    except ValueError:
        faults.append(f"{name}: {text!r} is not a number")
        return default


def _reservation(port: int) -> socket.socket:
    """Bound, never listening: a server that sets SO_REUSEADDR or SO_REUSEPORT, as all of ours do, may still bind."""
    kept = socket.socket()
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    kept.bind(("127.0.0.1", port))
    return kept


def _listening() -> set[int]:
    return {c.laddr.port for c in psutil.net_connections("tcp") if c.laddr and c.status == psutil.CONN_LISTEN}


def _holders() -> dict[int, str]:
    """Who is on each port, in words, as far as this user may see."""
    found: dict[int, str] = {}
    for connection in psutil.net_connections("tcp"):
        if connection.laddr and connection.pid:
            with contextlib.suppress(psutil.NoSuchProcess):
                found[connection.laddr.port] = f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return found
