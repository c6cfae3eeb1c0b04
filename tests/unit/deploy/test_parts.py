from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local import parts
from deploy.local.places import Places
from deploy.local.ports import DEFAULTS, SERVICES, Ports


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    made = Places.of(tmp_path / "a home")
    yield made
    shutil.rmtree(made.run)


def test_every_port_belongs_to_one_part(places: Places) -> None:
    built = parts.build(places, Ports(DEFAULTS))
    assert sorted(port for part in built for port in part.ports) == sorted(DEFAULTS)


def test_services_stop_first_and_stores_last(places: Places) -> None:
    tiers = {part.name: part.tier for part in parts.build(places, Ports(DEFAULTS))}
    order = [*SERVICES, "envoy", "triton-a", "postgres"]
    assert sorted(order, key=lambda name: -tiers[name]) == order


def test_a_service_waits_for_the_stores_that_are_started_with_it(places: Places) -> None:
    whole = {part.name: part for part in parts.build(places, Ports(DEFAULTS))}
    assert whole["routing"].needs == ("postgres", "redis")
    assert parts.build(places, Ports(DEFAULTS), ["routing", "redis"])[-1].needs == ("redis",)


def test_no_server_is_given_a_path_with_a_space(places: Places) -> None:
    for part in parts.build(places, Ports(DEFAULTS), parts.SERVERS):
        assert not [word for word in part.argv[1:] if " " in word]


def test_a_service_finds_its_configuration(places: Places) -> None:
    found = parts.environment(places, Ports(DEFAULTS), "model_serving")
    assert found["PENSTOCK_LISTEN"] == "127.0.0.1:50053"
    assert found["PENSTOCK_METRICS_PORT"] == "51053"
    assert found["PENSTOCK_MESH_ADDRESS"] == "127.0.0.1:10001"
    assert found["PENSTOCK_REDIS_URL"] == "redis://127.0.0.1:16379/0"
    assert found["PENSTOCK_POSTGRES_DSN"] == f"postgresql://postgres@/penstock?host={places.run}/postgres"
    assert found["PENSTOCK_TRITON_SERVERS"] == "a=127.0.0.1:8001,b=127.0.0.1:8011"
    assert Path(found["PENSTOCK_STATE_DIR"]).is_dir()


def test_an_unknown_part_is_named_with_those_that_exist(places: Places) -> None:
    with pytest.raises(parts.UnknownPart, match=r"no such part: rabbit\. Parts: postgres, redis"):
        parts.build(places, Ports(DEFAULTS), ["redis", "rabbit"])
