"""Tells readers and Prometheus whenever a decision has changed."""

import asyncio

from prometheus_client import Gauge

from libs.watch import Publisher
from penstock.health_monitoring.v1.health_pb2 import TargetHealth
from services.health_monitoring.domain.belief import State
from services.health_monitoring.domain.health import Health
from services.health_monitoring.domain.monitor import Monitor
from services.health_monitoring.domain.target import Kind
from services.health_monitoring.servers import encode

SWARM_SECONDS = 0.02

SERVICE_HEALTH = Gauge("ai_service_health", "1 while a Penstock service is HEALTHY, 0 otherwise.", ["service"])
TARGET_STATE = Gauge(
    "penstock_target_state", "State of each target: 1 HEALTHY, 2 UNHEALTHY, 3 UNKNOWN.", ["target", "kind"]
)
WEIGHT = Gauge(
    "penstock_server_weight",
    "A server's share of calls where servers are weighed by response time; 100 is the mean.",
    ["server"],
)


class Publication:
    """Holds its tongue until the monitor is informed. Belongs to one event loop."""

    def __init__(self, publisher: Publisher[TargetHealth]) -> None:
        self._publisher = publisher
        self._shown: set[tuple[str, Kind]] = set()
        self._due = False

    def soon(self, monitor: Monitor) -> None:
        """Tell in a moment: decisions come in swarms, as when a server dies with all its models."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(SWARM_SECONDS, self._tell, monitor)

    def _tell(self, monitor: Monitor) -> None:
        self._due = False
        healths = monitor.healths()
        self._show(healths)
        if monitor.informed:
            self._publisher.publish(encode.health(each) for each in healths)

    def _show(self, healths: list[Health]) -> None:
        shown: set[tuple[str, Kind]] = set()
        for each in healths:
            key = (each.target.identity, each.target.kind)
            shown.add(key)
            TARGET_STATE.labels(*key).set(int(encode.STATES[each.state]))
            if each.target.kind is Kind.SERVICE:
                SERVICE_HEALTH.labels(each.target.name).set(int(each.state is State.HEALTHY))
            if each.target.kind is Kind.SERVER:
                WEIGHT.labels(each.target.name).set(each.weight)
        for key in self._shown - shown:
            TARGET_STATE.remove(*key)
            if key[1] is Kind.SERVER:
                WEIGHT.remove(key[0].removeprefix(f"{Kind.SERVER}/"))
        self._shown = shown
