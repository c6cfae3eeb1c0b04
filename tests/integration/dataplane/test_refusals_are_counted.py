"""What our filters count, as Envoy tells Prometheus of it, is what docs/metrics.md lists."""

from __future__ import annotations

import grpc

from services.routing.domain.policy import Deployment, Limits, RateLimit, Route, Scope
from tests.e2e.exposition import exposed, listed
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane
from tests.integration.dataplane.test_bulkheads import calling, refused
from tests.integration.dataplane.test_edge import CALLER, KEYS, SELDOM, key
from tests.polling import eventually


def test_each_has_the_name_the_type_and_the_labels_that_are_listed(data_plane: DataPlane, ingress: grpc.Channel):
    limit = RateLimit("counted", "acme", Scope.TENANT, SELDOM, 2)
    route = Route("m", "5", limits=Limits(1, 0))
    inputs = data_plane.inputs(routes=(route,), deployments=(Deployment("m", "5", ("a",)),), keys=KEYS, limits=(limit,))
    data_plane.apply(inputs, authentication=True)
    assert models.call(ingress).code == "UNAUTHENTICATED"
    with models.hanging(data_plane.stack), calling(ingress, 3, metadata=[key(CALLER)]) as futures:
        eventually(lambda: refused(futures) == 2, message="one has no place, one has no token")
        models.go_on(data_plane.stack)

    def found():
        return exposed(f"http://{data_plane.stack.address('envoy_admin')}/stats/prometheus")

    for name, family in listed("Envoy").items():
        if family.rare:
            there = eventually(lambda name=name: found().get(name), message=f"Envoy exposes {name}")
            assert (there.type, there.labels) == (family.type, {family.labels})
