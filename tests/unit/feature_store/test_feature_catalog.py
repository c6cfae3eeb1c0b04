"""What a service remembers of the registry, and its configuration."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.config import ConfigError
from libs.errors import Faults, NotFound
from services.feature_store import config
from services.feature_store.domain.definitions import FeatureView
from services.feature_store.domain.plan import StoredView
from services.feature_store.domain.registration import Catalog, Registrar
from tests.contract.features_in_memory import RegistryInMemory
from tests.unit.feature_store import declared_features as d

ENVIRONMENT = {
    "PENSTOCK_POSTGRES_DSN": "postgresql:///x",
    "PENSTOCK_REDIS_URL": "redis://localhost",
    "PENSTOCK_STATE_DIR": "/var/lib/penstock",
}


class Clock:
    def now(self):
        return datetime(2026, 11, 21, tzinfo=UTC)

    def monotonic(self):
        return 0.0


class Counted(RegistryInMemory):
    asked = 0

    async def views(self, tenant, names):
        self.asked += 1
        return await super().views(tenant, names)


@pytest.fixture
async def registry():
    registry = Counted()
    registrar = Registrar(registry, Clock())
    for entity in d.ENTITIES.values():
        await registrar.create_entity("local", entity, Faults())
    for name in ("weather", "delays", "clock0", "clock"):
        await registrar.create_view("local", d.VIEWS[name], Faults())
    await registrar.create_service("local", d.SERVICE)
    return registry


async def test_a_plan_reaches_through_on_demand_views_and_is_worked_out_once(registry):
    catalog = Catalog(registry)
    plan = await catalog.plan("local", "flight")
    assert [s.view.name for s in plan.stored] == ["delays", "weather"]
    assert set(plan.on_demand) == {"clock", "clock0"}
    asked = registry.asked
    assert await catalog.plan("local", "flight") is plan
    assert registry.asked == asked


async def test_what_is_not_there_yet_is_asked_for_again(registry):
    catalog = Catalog(registry)
    with pytest.raises(NotFound):
        await catalog.plan("other", "flight")
    with pytest.raises(NotFound):
        await catalog.view("local", "later")
    await registry.add_view("local", FeatureView("later", "airport", d.WEATHER.source))
    assert isinstance(await catalog.view("local", "later"), StoredView)
    assert not isinstance(await catalog.view("local", "clock"), StoredView)


async def test_definitions_are_stamped_by_their_content(registry):
    one, other = (await registry.entities("local", ["airport", "carrier_at_airport"])).values()
    assert one.etag != other.etag
    assert one.create_time == Clock().now()


def test_configuration():
    read = config.read({**ENVIRONMENT, "PENSTOCK_METRICS_PORT": "9052", "PENSTOCK_WORKERS": "2"}, worker=1)
    assert read.history == Path("/var/lib/penstock/history")
    assert (read.workers, read.address.metrics_port, read.address.listen) == (2, 9152, "127.0.0.1:50052")
    assert config.read(ENVIRONMENT, worker=1).address.metrics_port == 0


def test_configuration_reports_all_its_faults():
    with pytest.raises(ConfigError) as raised:
        config.read({"PENSTOCK_LISTEN": "nowhere", "PENSTOCK_WORKERS": "0"})
    assert len(str(raised.value).splitlines()) == 1 + 5
