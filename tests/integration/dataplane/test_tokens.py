"""Callers with tokens, which Envoy verifies: who they are to Penstock, and who is nobody."""

from __future__ import annotations

import hmac
import json
import urllib.request
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace

import grpc
import jwt
import pytest
from jwt.utils import base64url_encode
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from services.routing.domain.policy import Issuer, RateLimit, Scope
from services.routing.xds.resources import ECDS, compile_snapshot
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane, running
from tests.integration.dataplane.services import SERVICES, Service, ask, listening
from tests.integration.dataplane.test_edge import CALLER, KEYS, counted, key, over_http, reason_of
from tests.polling import eventually
from tests.tokens import Signer, bearer, key_set

ISSUER, NARROW = "https://login.example", "https://narrow.example"
SIGNER, OTHER = Signer(), Signer()
SELDOM = 0.001
FORGED = [
    ("x-penstock-token-issuer", ISSUER),
    ("x-penstock-token-tenant", "victim"),
    ("x-penstock-token-principal", "root"),
    ("x-penstock-token-roles", "WyJhZG1pbiJd"),
    ("x-penstock-token-fault", "forged"),
    ("x-penstock-roles", "admin"),
]


def issuers(*signers: Signer) -> tuple[Issuer, ...]:
    keys = key_set(*signers)
    narrow = Issuer(NARROW, ("penstock",), keys, ("acme",), "org", "sub", "realm.scope", lists_roles=False)
    return Issuer(ISSUER, ("penstock", "others"), keys), narrow


def token(**claims) -> str:
    return SIGNER.token(ISSUER, **{"tenant": "acme", "sub": "auth0|ann", "roles": ["caller", "king"], **claims})


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Generator[DataPlane]:
    """As the session's, with an Envoy that looks at tokens."""
    named = "what is in it comes from the tests' policies"
    with running(tmp_path_factory.mktemp("tokens"), PENSTOCK_JWT_PROVIDERS=named) as plane:
        yield plane


@pytest.fixture
def guarded(plane: DataPlane) -> DataPlane:
    """Callers need keys or tokens."""
    plane.apply(plane.inputs(keys=KEYS, issuers=issuers(SIGNER)), authentication=True)
    return plane


@pytest.fixture
def ingress(guarded: DataPlane) -> Iterator[grpc.Channel]:
    with guarded.channel() as channel:
        yield channel


@pytest.fixture(scope="module")
def services(plane: DataPlane) -> Iterator[dict[str, Service]]:
    with listening(plane.stack) as started:
        yield started


def told_to(services: dict[str, Service], ingress: grpc.Channel, *said: tuple[str, str]) -> dict[str, str]:
    """Of its caller a service."""
    method = SERVICES["feature_store"]
    assert ask(ingress, method, metadata=said) == "feature_store"
    seen = services["feature_store"].seen[method]
    assert "authorization" not in seen
    return {name.removeprefix("x-penstock-"): value for name, value in seen.items() if name.startswith("x-penstock-")}


def test_a_token_is_who_calls(guarded: DataPlane, ingress: grpc.Channel):
    for said in (bearer(token()), ("authorization", f"bearer {token()}")):
        answer = models.call(ingress, metadata=[said, *FORGED])
        assert (answer.code, answer.version) == ("OK", "1")
        record = guarded.record(answer.headers["x-request-id"])
        assert (record.tenant, record.principal) == ("acme", "auth0|ann")


def test_services_are_told_who_calls_and_see_no_token(guarded: DataPlane, ingress, services: dict[str, Service]):
    who = {"tenant": "acme", "principal": "auth0|ann", "scope": "-"}
    assert told_to(services, ingress, bearer(token()), *FORGED) == {**who, "roles": "caller"}
    assert told_to(services, ingress, bearer(token(roles=["urgent", "admin"]))) == {**who, "roles": "admin,urgent"}
    assert told_to(services, ingress, bearer(token(roles=None)), *FORGED) == {**who, "roles": "none"}
    narrow = {"org": "acme", "sub": "bo", "realm": {"scope": "openid engineer"}}
    assert told_to(services, ingress, bearer(SIGNER.token(NARROW, **narrow))) == {
        **who, "principal": "bo", "roles": "engineer"
    }  # fmt: skip


def signed(by: Signer = SIGNER, issuer: str = ISSUER, **claims) -> Callable[[], str]:
    """Once the test runs, which may be long after this is read."""
    return lambda: by.token(issuer, **{"tenant": "acme", "sub": "ann", "roles": ["caller"], **claims})


def unsigned() -> str:
    return jwt.encode({"iss": ISSUER, "aud": "penstock", "exp": 9_999_999_999}, None, algorithm="none")


def with_the_public_key() -> str:
    """As a secret, where who verifies would believe in any algorithm."""
    said = {"alg": "HS256", "kid": SIGNER.kid}, {"iss": ISSUER, "aud": "penstock", "exp": 9_999_999_999}
    text = b".".join(base64url_encode(json.dumps(part).encode()) for part in said)
    signature = hmac.digest(json.dumps(SIGNER.public()).encode(), text, "sha256")
    return b".".join((text, base64url_encode(signature))).decode()


WRONG, NAMELESS = "TOKEN_INVALID", "TOKEN_CLAIM_MISSING"
REFUSED: dict[str, tuple[Callable[[], str], str, str]] = {
    "expired": (signed(exp=1), WRONG, "Jwt is expired"),
    "for ever": (signed(exp=None), WRONG, "Jwt verification fails"),
    "not yet": (signed(nbf=9_999_999_998, exp=9_999_999_999), WRONG, "Jwt not yet valid"),
    "for others": (signed(aud="somebody"), WRONG, "Audiences in Jwt are not allowed"),
    "for nobody": (signed(aud=None), WRONG, "Audiences in Jwt are not allowed"),
    "forged": (signed(by=OTHER), WRONG, "Jwt verification fails"),
    "unsigned": (unsigned, WRONG, "none that a known issuer has signed"),
    "by the public key": (with_the_public_key, WRONG, "Jwks doesn't have key"),
    "of whom": (signed(issuer="https://evil.example"), WRONG, "known issuer"),
    "no token": (lambda: "a.b.c", WRONG, "known issuer"),
    "no tenant": (signed(tenant=None), NAMELESS, "tenant and principal"),
    "no principal": (signed(sub=None), NAMELESS, "tenant and principal"),
    "tenants": (signed(tenant=["acme"]), NAMELESS, "tenant and principal"),
    "a header": (signed(tenant="acme\r\nx-penstock-roles: admin"), NAMELESS, "tenant and principal"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nobody_else_comes_in(guarded: DataPlane, ingress: grpc.Channel, name: str):
    make, reason, part = REFUSED[name]
    text = make()
    before = sum(counted(guarded, "penstock_edge_refusals").values())
    answer = models.call(ingress, metadata=[bearer(text), *FORGED])
    assert (answer.code, reason_of(answer)) == ("UNAUTHENTICATED", reason)
    assert part in answer.text
    assert sum(counted(guarded, "penstock_edge_refusals").values()) == before + 1
    record = guarded.record(answer.headers["x-request-id"])
    assert (record.tenant, record.principal, record.reached_triton) == ("anonymous", "anonymous", False)
    code, said = over_http(guarded, "/v1/routes", dict([bearer(text)]))
    assert (code, json.loads(said)["code"], json.loads(said)["details"][0]["reason"]) == (401, 16, reason)
    assert part in json.loads(said)["message"]


def test_two_tokens_are_none(guarded: DataPlane, ingress: grpc.Channel):
    """Or one's tenant might go with the other's roles."""
    admin = SIGNER.token(NARROW, org="acme", sub="bo", realm={"scope": "admin"})
    for said in ([bearer(token(roles=None)), bearer(admin)], [bearer(f"{token(roles=None)},Bearer {admin}")]):
        assert reason_of(models.call(ingress, metadata=said)) == "TOKEN_INVALID"


def test_what_clients_say_of_themselves_is_no_claim(guarded: DataPlane, ingress: grpc.Channel):
    for said in (FORGED, [*FORGED, ("authorization", "Basic abc")], [*FORGED, *FORGED]):
        answer = models.call(ingress, metadata=said)
        assert (answer.code, reason_of(answer)) == ("UNAUTHENTICATED", "API_KEY_REQUIRED")
        assert "bearer token" in answer.text


def test_an_issuer_speaks_for_its_tenants_only(guarded: DataPlane, ingress: grpc.Channel):
    foreign = SIGNER.token(NARROW, org="local", sub="bo", realm={"scope": "admin"})
    answer = models.call(ingress, metadata=[bearer(foreign)])
    assert (answer.code, reason_of(answer)) == ("PERMISSION_DENIED", "TENANT_NOT_ALLOWED")
    code, said = over_http(guarded, "/v1/routes", dict([bearer(foreign)]))
    assert (code, json.loads(said)["details"][0]["reason"]) == (403, "TENANT_NOT_ALLOWED")


def test_keys_go_on_and_go_before_tokens(guarded: DataPlane, ingress, services: dict[str, Service]):
    for said in ([key(CALLER)], [("authorization", f"Bearer {CALLER}")], [key(CALLER), *FORGED]):
        assert told_to(services, ingress, *said)["principal"] == "app"
    assert told_to(services, ingress, key(CALLER), bearer(token(tenant="other")))["tenant"] == "acme"
    answer = models.call(ingress, metadata=[key("nobody's"), bearer(token())])
    assert (answer.code, reason_of(answer)) == ("UNAUTHENTICATED", "API_KEY_UNKNOWN")


def test_an_inference_needs_a_role(guarded: DataPlane, ingress: grpc.Channel):
    for roles in (None, [], ["king"], ["billing"], "caller", {"caller": True}, [["caller"]]):
        answer = models.call(ingress, metadata=[bearer(token(roles=roles)), *FORGED])
        assert (answer.code, reason_of(answer)) == ("PERMISSION_DENIED", "ROLE_REQUIRED"), roles


def test_limits_are_the_tenants_whether_it_comes_with_a_key_or_a_token(guarded: DataPlane, ingress: grpc.Channel):
    bound = RateLimit("tokens", "acme", Scope.TENANT, SELDOM, 4)
    guarded.apply(guarded.inputs(keys=KEYS, issuers=issuers(SIGNER), limits=(bound,)), authentication=True)
    said = [bearer(token()), key(CALLER), bearer(token(sub="bo")), bearer(token()), bearer(token()), key(CALLER)]
    codes = [models.call(ingress, metadata=[each]).code for each in said]
    assert codes == ["OK"] * 4 + ["RESOURCE_EXHAUSTED"] * 2
    assert models.call(ingress, metadata=[bearer(token(tenant="other"))]).code == "OK"


def test_whoever_needs_no_key_needs_no_token(guarded: DataPlane):
    assert over_http(guarded, "/openapi.json", {})[0] == 200
    assert over_http(guarded, "/openapi.json", dict([bearer("expired")]))[0] == 401


def test_another_key_is_in_force_with_the_next_call_and_nothing_drains(guarded: DataPlane, ingress: grpc.Channel):
    """On one connection."""
    stub, old = GRPCInferenceServiceStub(ingress), bearer(token())
    fresh = bearer(OTHER.token(ISSUER, tenant="acme", sub="ann", roles=["caller"]))
    _, call = stub.ModelInfer.with_call(models.request(), timeout=models.TIMEOUT, metadata=[old])
    connections, drained = guarded.statistic("http.ingress.downstream_cx_total"), draining(guarded)
    second = Signer("second")
    newest = bearer(second.token(ISSUER, tenant="acme", sub="ann", roles=["caller"]))
    guarded.apply(guarded.inputs(keys=KEYS, issuers=issuers(SIGNER, second)), authentication=True)
    assert [models.call(ingress, metadata=[each]).code for each in (old, newest)] == ["OK", "OK"]
    guarded.apply(guarded.inputs(keys=KEYS, issuers=issuers(OTHER)), authentication=True)
    codes = [models.call(ingress, metadata=[each]).code for each in (old, newest, fresh)]
    assert codes == ["UNAUTHENTICATED", "UNAUTHENTICATED", "OK"]
    assert call.code() is grpc.StatusCode.OK
    assert (guarded.statistic("http.ingress.downstream_cx_total"), draining(guarded)) == (connections, drained)


def test_keys_that_envoy_cannot_read_are_refused_and_the_last_ones_stay(guarded: DataPlane, ingress: grpc.Channel):
    """And what else is new comes through: a revoked key is not good for as long as an issuer's file is bad."""
    short = {**SIGNER.public(), "n": "AQAB"}
    broken = replace(issuers(SIGNER)[0], jwks=json.dumps({"keys": [short]}))
    guarded.publish(compile_snapshot(guarded.inputs(keys=KEYS, issuers=(broken,)), authentication=True))
    rejections = eventually(lambda: [each for proxy in guarded.ads.proxies() for each in proxy.rejections])
    assert [(each.type_url, "jwks" in each.message) for each in rejections] == [(ECDS, True)]
    assert models.call(ingress, metadata=[bearer(token())]).code == "OK"
    guarded.publish(compile_snapshot(guarded.inputs(keys=KEYS[1:], issuers=(broken,)), authentication=True))
    eventually(lambda: models.call(ingress, metadata=[key(CALLER)]).code == "UNAUTHENTICATED")
    assert models.call(ingress, metadata=[bearer(token())]).code == "OK"


def draining(plane: DataPlane) -> dict[str, int]:
    names = ("total_listeners_draining", "listener_modified", "listener_removed", "listener_in_place_updated")
    found = {name: plane.statistic(f"listener_manager.{name}") for name in names}
    return {**found, "closed": plane.statistic("http.ingress.downstream_cx_drain_close")}


def filters(plane: DataPlane) -> list[str]:
    """At the ingress."""
    where = f"http://{plane.stack.address('envoy_admin')}/config_dump?resource=static_listeners"
    with urllib.request.urlopen(where) as answer:
        listeners = [each["listener"] for each in json.load(answer)["configs"]]
    (ingress,) = (listener for listener in listeners if listener["name"] == "ingress")
    manager = ingress["filter_chains"][0]["filters"][0]["typed_config"]
    return [each["name"] for each in manager["http_filters"]]


def test_where_routing_names_no_issuers_such_an_envoy_lets_nobody_in(guarded: DataPlane, ingress: grpc.Channel):
    """Rather than those whom nobody has looked at."""
    guarded.apply(guarded.inputs(keys=KEYS), authentication=True)
    for said in ([bearer(token())], FORGED, [key(CALLER), *FORGED]):
        assert models.call(ingress, metadata=said).code != "OK"
    guarded.apply(guarded.inputs(keys=KEYS, issuers=issuers(SIGNER)), authentication=True)
    assert models.call(ingress, metadata=[bearer(token())]).code == "OK"


def test_where_no_issuer_is_named_there_is_no_filter_for_tokens(data_plane: DataPlane):
    """And a policy that names some changes nothing for an Envoy that does not look at tokens."""
    data_plane.apply(data_plane.inputs(keys=KEYS, issuers=issuers(SIGNER)), authentication=True)
    assert filters(data_plane) == ["penstock", "envoy.filters.http.router"]
    with data_plane.channel() as channel:
        assert models.call(channel, metadata=[key(CALLER)]).code == "OK"
        for said in (FORGED, [bearer(token()), *FORGED]):
            assert reason_of(models.call(channel, metadata=said)) == "API_KEY_REQUIRED"
