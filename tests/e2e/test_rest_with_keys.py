"""REST where callers need keys: who may do what, and what anybody may ask."""

import pytest

from penstock.routing.v1 import access_service_pb2 as acc
from penstock.routing.v1.api_key_pb2 import ApiKey
from penstock_client import Penstock
from tests.conftest import running
from tests.polling import eventually
from tests.rest import Rest

PARTS = ("postgres", "keeper", "envoy", "routing", "model_serving", "cost_tracking", "health_monitoring")
KEY = "x-penstock-api-key"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with running(tmp_path_factory.mktemp("with keys"), PARTS, {"PENSTOCK_AUTH": "on"}) as stack:
        yield stack


@pytest.fixture(scope="module")
def rest(guarded):
    return Rest(guarded.address("ingress"))


@pytest.fixture(scope="module")
def admin(guarded, rest):
    """The first key, once Envoy knows it."""
    key = (guarded.places.data("routing") / "admin.key").read_text().strip()
    eventually(lambda: rest.get("/v1/models", **{KEY: key}).status == 200, within=20)
    return key


@pytest.fixture(scope="module")
def caller(guarded, rest, admin):
    """A key that may only call."""
    with Penstock(guarded.address("ingress"), api_key=admin) as penstock:
        made = ApiKey(tenant="acme", principal="app", roles=["caller"])
        key = penstock.access.CreateApiKey(acc.CreateApiKeyRequest(api_key=made)).key
    eventually(lambda: rest.get("/v1/models", **{KEY: key}).status == 200, within=20)
    return key


def test_without_a_key(rest, admin):
    for headers in ({}, {"x-penstock-roles": "admin", "x-penstock-tenant": "local"}):
        for answer in (rest.get("/v1/models", **headers), rest.post("/v1/predictions", {"model_id": "m"}, headers)):
            assert (answer.status, answer.json["code"], answer.reason) == (401, 16, "API_KEY_REQUIRED")


def test_what_anybody_may_ask(rest, admin):
    assert rest.get("/openapi.json").status == 200
    assert "checks" in rest.get("/health").json


@pytest.mark.parametrize("credential", [lambda key: {KEY: key}, lambda key: {"authorization": f"Bearer {key}"}])
def test_a_caller_predicts_and_reads_and_no_more(rest, caller, credential):
    headers = credential(caller)
    answer = rest.post("/v1/predictions", {"model_id": "nobody"}, headers)
    assert (answer.status, answer.reason) == (404, "MODEL_NOT_FOUND")
    assert rest.get("/v1/routes", **headers).status == 200
    refused = rest.get("/v1/prices", **headers, **{"x-penstock-roles": "admin"})
    assert (refused.status, refused.json["code"], refused.reason) == (403, 7, "ROLE_REQUIRED")
