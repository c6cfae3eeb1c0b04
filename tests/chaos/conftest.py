"""The whole stack and one model with an experiment on it, to be broken."""

import pytest

from penstock.feature_store.v1 import feature_registry_service_pb2 as registry
from penstock.feature_store.v1.feature_view_pb2 import (
    BatchSource,
    Entity,
    FeatureReference,
    FeatureService,
    FeatureView,
    Field,
)
from penstock.feature_store.v1.value_pb2 import VALUE_TYPE_DOUBLE, VALUE_TYPE_STRING
from penstock_client import Penstock
from tests.serving import halves, serve_shift, start_experiment


@pytest.fixture(scope="session")
def penstock(stack):
    with Penstock(stack.address("ingress")) as client:
        yield client


@pytest.fixture(scope="session")
def model(penstock):
    serve_shift(penstock, "hardy", [1, 2])
    start_experiment(penstock, halves("hardy-halves", "hardy"))
    return "hardy"


@pytest.fixture(scope="session", autouse=True)
def crates(penstock):
    """A feature service, for reads that Redis must answer."""
    crate = Entity(name="crate", join_keys=[Field(name="crate_id", type=VALUE_TYPE_STRING)])
    weights = BatchSource(features=[Field(name="weight", type=VALUE_TYPE_DOUBLE)])
    view = FeatureView(name="crate_weights", entity="crate", batch=weights)
    service = FeatureService(name="crates", features=[FeatureReference(view="crate_weights", feature="weight")])
    penstock.feature_registry.CreateEntity(registry.CreateEntityRequest(entity=crate))
    penstock.feature_registry.CreateFeatureView(registry.CreateFeatureViewRequest(feature_view=view))
    penstock.feature_registry.CreateFeatureService(registry.CreateFeatureServiceRequest(feature_service=service))
