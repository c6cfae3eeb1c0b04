"""Which of Envoy's counters are inferences that a server was asked for."""

from services.cost_tracking.clients import completed

COUNTERS = {
    "inference.ingress.downstream_rq_completed.route.split": 5,
    "inference.ingress.downstream_rq_completed.route.pinned": 2,
    "inference.ingress.downstream_rq_completed.route.slow-door": 3,
    "inference.ingress.downstream_rq_completed.route.": 7,
    "inference.mesh.downstream_rq_completed.route.split": 11,
}


def test_a_listener_completed_what_it_sent_to_servers():
    assert completed(COUNTERS, "ingress") == 7
    assert completed(COUNTERS, "mesh") == 11
    assert completed({}, "mesh") == 0
