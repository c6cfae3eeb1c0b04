"""Who may call what, as the protos say it."""

from contextvars import copy_context

import pytest

from libs import identity
from libs.errors import Denied
from libs.roles import ROLES, allowed_roles, require_role
from penstock.access.v1.access_pb2 import ROLE_UNSPECIFIED, allow
from tests.roles import PAGE, path, services, written

METHODS = {path(method): method for service in services() for method in service.methods}
READING = (
    *("Analyze", "Assign", "Check", "Diff", "Explain", "Export", "Get"),
    *("List", "Predict", "Reconcile", "Select", "Watch"),
)
BETWEEN_SERVICES = ("Deliver", "Watch")
CREATE, GET = "/penstock.routing.v1.RoutingService/CreateRoute", "/penstock.routing.v1.RoutingService/GetRoute"


def refusal(method, headers):
    """What the caller with these headers is told; None when it may call."""

    def call():
        identity.enter(headers)
        try:
            require_role(method)
        except Denied as error:
            return error
        return None

    return copy_context().run(call)


def may(method, roles):
    return refusal(method, {identity.ROLES: roles}) is None


def test_the_services_are_all_there():
    assert {service.full_name.split(".")[1] for service in services()} == {
        "cost_tracking",
        "experimentation",
        "feature_store",
        "health_monitoring",
        "model_serving",
        "routing",
    }


@pytest.mark.parametrize("method", METHODS)
def test_every_rpc_says_who_may_call_it(method):
    said = METHODS[method].GetOptions().Extensions[allow]
    assert said, "an option (penstock.access.v1.allow)"
    assert ROLE_UNSPECIFIED not in said
    assert "admin" in allowed_roles(method)
    assert allowed_roles(method) <= set(ROLES)


@pytest.mark.parametrize("method", METHODS)
def test_who_only_reads_changes_nothing(method):
    name, allowed = METHODS[method].name, allowed_roles(method)
    if name.startswith(BETWEEN_SERVICES) or ".AccessService/" in method:
        assert allowed == {"admin"}
    elif not name.startswith(READING):
        assert "approver" not in allowed
        assert ("billing" in allowed) == ("cost_tracking" in method)
        assert "caller" not in allowed or name == "ReportOutcomes", "a caller changes nothing but what is known of use"


@pytest.mark.parametrize("method", METHODS)
def test_an_engineer_may_what_a_caller_may(method):
    assert "caller" not in allowed_roles(method) or "engineer" in allowed_roles(method)


def test_one_role_that_will_do_is_enough():
    assert may(CREATE, "engineer")
    assert may(CREATE, "approver, engineer")
    assert may(CREATE, "admin")
    assert not may(CREATE, "caller,approver,billing")
    for role in ROLES:
        assert may(GET, role)


def test_a_refusal_names_the_roles_that_would_do():
    told = refusal("/penstock.cost_tracking.v1.CostTrackingService/GetSpend", {identity.ROLES: "caller"})
    assert (told.reason, told.metadata["roles"]) == ("ROLE_REQUIRED", "engineer,billing,admin")
    assert told.message == "GetSpend needs a key with the role engineer or billing or admin"


def test_who_says_no_role_has_none_and_who_says_nothing_is_the_local_administrator():
    assert not may(GET, "")
    assert not may(GET, "nobody's,Engineer")
    assert refusal(CREATE, {}) is None
    assert refusal(CREATE, {identity.TENANT: "acme"}) is None


def test_a_caller_without_roles_gains_none_at_the_next_hop():
    for roles in (frozenset(), frozenset({"caller"})):
        sent = dict(identity.Caller(tenant="acme", principal="p", roles=roles).headers())
        assert (refusal(GET, sent) is None) == bool(roles)


def test_services_of_others_ask_for_no_role():
    assert allowed_roles("/grpc.health.v1.Health/Check") is None
    assert may("/inference.GRPCInferenceService/ModelInfer", "")


def test_the_page_shows_what_the_protos_say():
    assert PAGE.read_text() == written(), "python -m tests.roles"
