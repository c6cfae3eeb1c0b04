"""The environment of health_monitoring."""

from __future__ import annotations

import pytest

from libs.config import ConfigError
from services.health_monitoring.config import read

DSN = {"PENSTOCK_POSTGRES_DSN": "postgresql://"}


def test_a_probe_may_take_five_seconds_and_never_longer_than_the_interval() -> None:
    assert (read(DSN).probe_interval, read(DSN).probe_timeout) == (10, 5)
    fast = read({**DSN, "PENSTOCK_PROBE_INTERVAL_SECONDS": "1"})
    assert (fast.probe_interval, fast.probe_timeout) == (1, 1)
    assert read({**DSN, "PENSTOCK_PROBE_TIMEOUT_SECONDS": "2"}).probe_timeout == 2


def test_services_by_name() -> None:
    config = read({**DSN, "PENSTOCK_SERVICE_ADDRESSES": "routing=127.0.0.1:1,cost_tracking=[::1]:2"})
    assert config.services == {"routing": "127.0.0.1:1", "cost_tracking": "[::1]:2"}


def test_every_fault_at_once() -> None:
    with pytest.raises(ConfigError) as raised:
        read({"PENSTOCK_PROBE_INTERVAL_SECONDS": "often", "PENSTOCK_LISTEN": "here"})
    assert "PENSTOCK_PROBE_TIMEOUT_SECONDS" not in str(raised.value)
    for name in ("PENSTOCK_POSTGRES_DSN", "PENSTOCK_PROBE_INTERVAL_SECONDS", "PENSTOCK_LISTEN"):
        assert name in str(raised.value)
