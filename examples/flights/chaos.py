"""What breaks in the middle of the replay: one Triton is killed, later the other hangs; each comes back."""

from __future__ import annotations

import threading
from collections.abc import Callable

from deploy.local.stack import Stack
from examples.flights.serving import MODEL, wait_until
from penstock.routing.v1.routing_service_pb2 import ExplainRouteRequest
from penstock_client import Penstock

KILL_AT, SUSPEND_AT = 0.3, 0.6
SUSPENDED_SECONDS = 5.0


class Chaos:
    """Runs beside the replay, which says how far it is."""

    def __init__(self, stack: Stack, penstock: Penstock, flights: int) -> None:
        self._stack = stack
        self._penstock = penstock
        self._flights = flights
        self._served = 0
        self._moved = threading.Condition()

    def served(self, flights: int) -> None:
        with self._moved:
            self._served += flights
            self._moved.notify_all()

    def run(self, say: Callable[[str], None]) -> None:
        self._wait(KILL_AT)
        self._stack.kill("triton-a")
        say("         triton-a is killed with -9")
        wait_until(lambda: self._serving() < 2, "routing knows that a server is gone")
        say("         traffic is off triton-a")
        wait_until(lambda: self._serving() == 2, "both servers are back")
        say("         triton-a has its models again and takes traffic")
        self._wait(SUSPEND_AT)
        self._stack.suspend("triton-b")
        say("         triton-b is stopped with SIGSTOP")
        try:
            wait_until(lambda: self._serving() < 2, "routing knows that a server hangs")
            say("         traffic is off triton-b")
            threading.Event().wait(SUSPENDED_SECONDS)
        finally:
            self._stack.resume("triton-b")
        say("         triton-b goes on")
        wait_until(lambda: self._serving() == 2, "both servers are back")
        say("         triton-b takes traffic again")

    def _wait(self, part: float) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self._served >= part * self._flights)

    def _serving(self) -> int:
        """Servers that get calls, by the policy that Envoy acknowledged."""
        explained = self._penstock.routing.ExplainRoute(ExplainRouteRequest(model=MODEL, unit="anyone")).explanation
        return sum(endpoint.included for endpoint in explained.endpoints)
