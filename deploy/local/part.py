"""What the supervisor needs to know about one process of the stack."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deploy.local.probes import Probe


@dataclass(frozen=True)
class Part:
    """One supervised process.

    Attributes:
        name: what `status`, `logs` and tests call it.
        argv: its command line.
        ready: raises NotReady until it answers.
        env: added to the supervisor's own environment.
        needs: parts that must be ready before it starts.
        ports: the names in `ports.DEFAULTS` on which it listens.
        tier: `down` stops the highest first, equals together.
        prepare: run before every start; blocking is fine.
        account: (uid, gid) to run as, where not ours.
        stop_signal: asks it to finish cleanly.
        grace: seconds that it may take for that.
    """

    name: str
    argv: tuple[str, ...]
    ready: Probe
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    needs: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    tier: int = 0
    prepare: Callable[[], None] = lambda: None
    account: tuple[int, int] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0
