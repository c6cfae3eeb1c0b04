"""Who may call, and how often: keys, roles and limits as Envoy holds them, seen by callers."""

from __future__ import annotations

import json
import re
import socket
import urllib.error
import urllib.request
from dataclasses import replace

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from services.routing.domain.keys import key_hash
from services.routing.domain.policy import ApiKey, RateLimit, Scope
from services.routing.xds.access import INGRESS
from services.routing.xds.resources import ECDS, compile_snapshot
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane
from tests.integration.dataplane.services import SERVICES, Service, ask
from tests.polling import eventually

CALLER, ENGINEER, PAYER, STRANGER = (f"penstock_{name * 3}_{'s' * 32}" for name in ("aaaa", "bbbb", "cccc", "dddd"))
KEYS = (
    ApiKey("aaaaaaaaaaaa", key_hash(CALLER), "acme", "app", ("caller",)),
    ApiKey("bbbbbbbbbbbb", key_hash(ENGINEER), "local", "eve", ("approver", "engineer")),
    ApiKey("cccccccccccc", key_hash(PAYER), "acme", "paula", ("billing",)),
)
SELDOM = 0.001
"""Tokens a second: none comes while a test runs."""


def key(text: str) -> tuple[str, str]:
    return ("x-penstock-api-key", text)


def unit(name: str) -> tuple[str, str]:
    return ("x-penstock-routing-key", name)


def reason_of(answer: models.Answer) -> str:
    status, info = (
        status_pb2.Status.FromString(answer.headers["grpc-status-details-bin"]),
        error_details_pb2.ErrorInfo(),
    )
    assert status.message == answer.text
    assert status.details[0].Unpack(info)
    assert info.domain == "penstock"
    return info.reason


def counted(plane: DataPlane, name: str) -> dict[str, int]:
    """Of Envoy's counters those with this in their name."""
    with urllib.request.urlopen(
        f"http://{plane.stack.address('envoy_admin')}/stats?format=json&filter={name}"
    ) as answer:
        return {stat["name"]: stat["value"] for stat in json.load(answer)["stats"] if "name" in stat}


def over_http(plane: DataPlane, path: str, headers: dict[str, str], method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://{plane.stack.address('ingress')}{path}", headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def guarded(data_plane: DataPlane) -> DataPlane:
    """Callers need keys."""
    data_plane.apply(data_plane.inputs(keys=KEYS), authentication=True)
    return data_plane


def test_a_key_is_who_calls(guarded: DataPlane, ingress: grpc.Channel):
    for credential in (key(CALLER), ("authorization", f"Bearer {CALLER}")):
        answer = models.call(
            ingress, metadata=[credential, ("x-penstock-tenant", "local"), ("x-penstock-roles", "admin")]
        )
        assert (answer.code, answer.version) == ("OK", "1")
        record = guarded.record(answer.headers["x-request-id"])
        assert (record.tenant, record.principal) == ("acme", "app")


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        ([], "UNAUTHENTICATED", "API_KEY_REQUIRED"),
        ([key(STRANGER)], "UNAUTHENTICATED", "API_KEY_UNKNOWN"),
        ([key("")], "UNAUTHENTICATED", "API_KEY_UNKNOWN"),
        ([key(CALLER + "x")], "UNAUTHENTICATED", "API_KEY_UNKNOWN"),
        ([key("k" * 10_000)], "UNAUTHENTICATED", "API_KEY_UNKNOWN"),
        ([("authorization", "Bearer something-else")], "UNAUTHENTICATED", "API_KEY_REQUIRED"),
        ([key(PAYER)], "PERMISSION_DENIED", "ROLE_REQUIRED"),
        ([("x-penstock-tenant", "acme"), ("x-penstock-principal", "app")], "UNAUTHENTICATED", "API_KEY_REQUIRED"),
    ],
)
def test_nobody_else_infers(guarded: DataPlane, ingress: grpc.Channel, metadata, code: str, reason: str):
    before = sum(counted(guarded, "penstock_edge_refusals").values())
    answer = models.call(ingress, metadata=metadata)
    assert (answer.code, reason_of(answer)) == (code, reason)
    assert answer.headers["x-request-id"]
    assert sum(counted(guarded, "penstock_edge_refusals").values()) == before + 1
    record = guarded.record(answer.headers["x-request-id"])
    assert (record.upstream, record.reached_triton) == ("", False)


def test_services_are_told_who_calls_and_never_with_what(guarded: DataPlane, ingress, services: dict[str, Service]):
    method = SERVICES["feature_store"]
    assert ask(ingress, method) == "UNAUTHENTICATED"
    said = [key(ENGINEER), ("x-penstock-roles", "admin"), ("x-penstock-principal", "root")]
    assert ask(ingress, method, metadata=said) == "feature_store"
    seen = services["feature_store"].seen[method]
    told = {name: value for name, value in seen.items() if name.startswith("x-penstock-")}
    identity = {"tenant": "local", "principal": "eve", "roles": "approver,engineer", "scope": "-"}
    assert told == {f"x-penstock-{name}": value for name, value in identity.items()}
    assert ask(ingress, method, metadata=[("authorization", f"Bearer {CALLER}")]) == "feature_store"
    assert "authorization" not in services["feature_store"].seen[method]


def test_a_credential_of_somebody_elses_passes(data_plane: DataPlane, ingress, services: dict[str, Service]):
    """What is no key of ours is none of our business."""
    method = SERVICES["feature_store"]
    assert ask(ingress, method, metadata=[("authorization", "Basic abc"), key(CALLER)]) == "feature_store"
    seen = services["feature_store"].seen[method]
    assert (seen["authorization"], seen["x-penstock-tenant"]) == ("Basic abc", "local")
    assert "x-penstock-api-key" not in seen


def test_whether_penstock_is_there_may_be_asked_without_a_key(guarded: DataPlane, ingress: grpc.Channel):
    with pytest.raises(grpc.RpcError) as raised:  # the ADS server of these tests has no health, but it was reached
        health_pb2_grpc.HealthStub(ingress).Check(health_pb2.HealthCheckRequest(), timeout=models.TIMEOUT)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_callers_without_grpc_are_told_by_http(guarded: DataPlane):
    for headers, status, part in (({}, 401, "x-penstock-api-key"), (dict([key(STRANGER)]), 401, "not known")):
        code, text = over_http(guarded, "/v2", headers)
        assert code == status
        assert part in json.loads(text)["error"]
    assert over_http(guarded, "/somewhere", dict([key(CALLER)]))[0] == 404


def test_a_revoked_key_ends_and_a_new_one_begins_while_calls_go_on(guarded: DataPlane, ingress: grpc.Channel):
    """On one connection: nothing drains."""
    stub = GRPCInferenceServiceStub(ingress)
    _, kept = stub.ModelInfer.with_call(models.request(), timeout=models.TIMEOUT, metadata=[key(CALLER)])
    fresh = ApiKey("dddddddddddd", key_hash(STRANGER), "acme", "new", ("caller",))
    guarded.apply(guarded.inputs(keys=(*KEYS[1:], fresh)), authentication=True)
    assert reason_of(models.call(ingress, metadata=[key(CALLER)])) == "API_KEY_UNKNOWN"
    assert models.call(ingress, metadata=[key(STRANGER)]).code == "OK"
    assert kept.code() is grpc.StatusCode.OK
    drained = counted(guarded, "listener_manager.total_listeners_draining")
    assert set(drained.values()) == {0}


def test_ten_thousand_keys_and_limits_are_taken_in(data_plane: DataPlane, ingress: grpc.Channel):
    others = tuple(
        ApiKey(f"{n:012}", key_hash(f"other {n}"), f"tenant-{n}", f"app-{n}", ("caller",)) for n in range(10_000)
    )
    bounds = tuple(RateLimit(f"limit-{n}", f"tenant-{n}", Scope.TENANT, SELDOM, 1) for n in range(10_000))
    data_plane.apply(data_plane.inputs(keys=(*KEYS, *others), limits=bounds), authentication=True)
    assert models.call(ingress, metadata=[key(CALLER)]).code == "OK"
    assert [models.call(ingress, metadata=[key("other 9999")]).code for _ in range(2)] == ["OK", "RESOURCE_EXHAUSTED"]


def test_a_configuration_that_cannot_be_read_is_refused_and_the_last_one_stays(guarded: DataPlane, ingress):
    wrong = replace(KEYS[0], sha256="not a hash")
    guarded.publish(compile_snapshot(guarded.inputs(keys=(wrong,)), authentication=True))

    def rejected() -> set[str]:
        return {rejection.type_url for proxy in guarded.ads.proxies() for rejection in proxy.rejections}

    assert eventually(rejected) == {ECDS}
    assert models.call(ingress, metadata=[key(CALLER)]).code == "OK"
    assert models.call(ingress).code == "UNAUTHENTICATED"
    guarded.apply(guarded.inputs(keys=KEYS), authentication=True)


def limited(plane: DataPlane, *bounds: RateLimit) -> None:
    plane.apply(plane.inputs(keys=KEYS, limits=bounds), authentication=True)


def codes(ingress: grpc.Channel, count: int, *metadata: tuple[str, str]) -> list[str]:
    return [models.call(ingress, metadata=metadata).code for _ in range(count)]


def test_above_its_limit_a_tenant_is_refused_and_told_when_to_come_again(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane, RateLimit("four", "acme", Scope.TENANT, SELDOM, 4))
    said = [models.call(ingress, metadata=[key(CALLER)]).headers for _ in range(4)]
    told = [(h.get("x-ratelimit-limit"), h.get("x-ratelimit-remaining")) for h in said]
    assert told == [(None, None), (None, None), ("4", "1"), ("4", "0")]
    refused = models.call(ingress, metadata=[key(CALLER)])
    assert (refused.code, reason_of(refused)) == ("RESOURCE_EXHAUSTED", "RATE_LIMITED")
    assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("4", "0")
    assert 900 < int(refused.headers["x-ratelimit-reset"]) <= 1000
    assert "rate limit four of tenant acme is used up" in refused.text
    assert models.call(ingress, metadata=[key(ENGINEER)]).code == "OK", "another tenant"
    status, text = over_http(data_plane, "/v2/models/m/infer", dict([key(CALLER)]), "POST")
    assert (status, "rate limit four" in json.loads(text)["error"]) == (429, True)


def test_limits_outlive_a_change_of_policy(data_plane: DataPlane, ingress: grpc.Channel):
    bound = RateLimit("kept", "acme", Scope.TENANT, SELDOM, 1)
    limited(data_plane, bound)
    assert codes(ingress, 2, key(CALLER)) == ["OK", "RESOURCE_EXHAUSTED"]
    limited(data_plane, bound, RateLimit("another", "local", Scope.TENANT, SELDOM, 1))
    assert codes(ingress, 1, key(CALLER)) == ["RESOURCE_EXHAUSTED"]


def test_each_unit_has_its_own_bucket_and_all_without_a_key_share_one(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane, RateLimit("units", "", Scope.UNIT, SELDOM, 2))
    expected = ["OK", "OK", "RESOURCE_EXHAUSTED"]
    assert codes(ingress, 3, key(CALLER), unit("u")) == expected
    assert codes(ingress, 3, key(CALLER), unit("v")) == expected
    assert codes(ingress, 3, key(CALLER)) == expected
    assert codes(ingress, 3, key(ENGINEER), unit("u")) == expected, "of another tenant"


def test_a_call_needs_a_token_of_each_limit_or_takes_none(data_plane: DataPlane, ingress: grpc.Channel):
    both = RateLimit("all", "", Scope.TENANT, SELDOM, 3), RateLimit("each", "acme", Scope.UNIT, SELDOM, 1)
    limited(data_plane, *both)
    assert codes(ingress, 4, key(CALLER), unit("1")) == ["OK", *["RESOURCE_EXHAUSTED"] * 3]
    assert codes(ingress, 1, key(CALLER), unit("2")) == ["OK"], "refused calls took nothing of `all`"
    assert codes(ingress, 1, key(CALLER), unit("3")) == ["OK"]
    assert codes(ingress, 1, key(CALLER), unit("4")) == ["RESOURCE_EXHAUSTED"]


def test_a_limit_in_shadow_refuses_nobody_and_is_counted(data_plane: DataPlane, ingress: grpc.Channel):
    limited(data_plane, RateLimit("trial", "acme", Scope.TENANT, SELDOM, 1, shadow=True))
    assert codes(ingress, 4, key(CALLER)) == ["OK"] * 4

    def told() -> bool:
        return (
            sum(
                n
                for name, n in counted(data_plane, "penstock_edge_limited").items()
                if "trial" in name and "shadow" in name
            )
            == 3
        )

    eventually(told)


def test_with_authentication_off_limits_hold_for_the_local_tenant(data_plane: DataPlane, ingress: grpc.Channel):
    data_plane.apply(data_plane.inputs(limits=(RateLimit("mine", "local", Scope.TENANT, SELDOM, 1),)))
    assert codes(ingress, 2) == ["OK", "RESOURCE_EXHAUSTED"]


def test_streams_and_predictions_are_counted_and_reads_are_not(data_plane: DataPlane, ingress, services):
    limited(data_plane, RateLimit("forms", "acme", Scope.TENANT, SELDOM, 2))
    stream, predict = "/inference.GRPCInferenceService/ModelStreamInfer", SERVICES["model_serving"]
    ready = "/inference.GRPCInferenceService/ModelReady"
    asked = [ask(ingress, method, metadata=[key(CALLER)]) for method in (stream, predict, stream, predict, ready)]
    assert asked == ["model_serving", "model_serving", "RESOURCE_EXHAUSTED", "RESOURCE_EXHAUSTED", "model_serving"]


@pytest.mark.parametrize(
    "path", ["/v2/models/m/infer", "/v2/models/m/infer?x=1", "/v2/models/m/%69nfer", "/v2/%6dodels/m/infer"]
)
def test_however_its_path_is_written_an_inference_needs_a_role_and_a_token(data_plane: DataPlane, path: str):
    limited(data_plane, RateLimit("of" + re.sub(r"\W", ".", path), "acme", Scope.TENANT, SELDOM, 1))
    assert over_http(data_plane, path, dict([key(PAYER)]), "POST")[0] == 403
    assert over_http(data_plane, path, dict([key(CALLER)]), "POST")[0] != 429
    assert over_http(data_plane, path, dict([key(CALLER)]), "POST")[0] == 429
    assert over_http(data_plane, "/v2/repository/index", dict([key(PAYER)]), "POST")[0] not in (403, 429)


def test_what_envoy_holds_has_no_key_in_it(guarded: DataPlane):
    with urllib.request.urlopen(f"http://{guarded.stack.address('envoy_admin')}/config_dump") as answer:
        dump = answer.read().decode()
    assert key_hash(CALLER) in dump
    assert not any(text in dump for text in (CALLER, ENGINEER, PAYER))
    assert INGRESS in dump


@pytest.mark.parametrize(
    ("said", "method", "path"),
    [
        ({}, "POST", models.INFER),
        (dict([key(CALLER)]), "POST", "/inference.GRPCInferenceService/ModelStreamInfer"),
        (dict([key(CALLER), ("content-type", "application/grpc-web+proto")]), "POST", models.INFER),
        ({"origin": "http://page", "access-control-request-method": "POST"}, "OPTIONS", models.INFER),
    ],
    ids=["without an API key", "stream", "browser", "preflight"],
)
def test_a_routing_key_that_is_no_text_is_in_no_record(
    guarded: DataPlane, said: dict[str, str], method: str, path: str
):
    """It would add fields to the line, which nobody could read any more."""
    before = len(guarded.records())
    assert over_http(guarded, path, {**said, "x-penstock-routing-key": "a\tb"}, method)[0] in (200, 400)
    record = eventually(lambda: guarded.records()[before:])[0]
    assert (record.unit, record.upstream) == ("", "")


FORGED = {
    "x-request-id": "forged",
    "x-penstock-tenant": "victim",
    "x-penstock-principal": "victim",
    "x-penstock-scope": "m",
    "x-penstock-routing-key": "victim",
    "x-client-request-id": "forged",
}


def by_hand(plane: DataPlane, *head: str) -> bytes:
    """What the ingress answers until it closes the connection."""
    host, _, port = plane.stack.address("ingress").partition(":")
    lines = [*head, *(f"{name}: {value}" for name, value in FORGED.items()), "content-length: 0", "", ""]
    with socket.create_connection((host, int(port)), timeout=models.TIMEOUT) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ((f"POST {models.INFER} HTTP/1.1",), 400),
        ((f"GET {models.INFER} HTTP/1.1", "host: x", "connection: upgrade", "upgrade: websocket"), 403),
    ],
    ids=["no host", "an upgrade"],
)
def test_nor_where_envoy_refuses_before_any_filter(guarded: DataPlane, head: tuple[str, ...], status: int):
    before = len(guarded.records())
    answer = by_hand(guarded, *head)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"x-penstock" not in answer
    record = eventually(lambda: guarded.records()[before:])[0]
    assert record.request_id.encode() in answer
    assert "victim" not in repr(record)
    assert "forged" not in repr(record)
    assert (record.tenant, record.model, record.version, record.upstream) == ("anonymous", "", "", "")
    assert not record.reached_triton


def test_by_a_scope_of_the_callers_nothing_is_told_of_a_model_and_nothing_counted(guarded: DataPlane):
    """Envoy chooses a route before the filter takes the scope away."""
    split = r"inference\.ingress\.downstream_rq_completed\.route\.split"
    before, counted_before = len(guarded.records()), guarded.statistic(split)
    answer = by_hand(guarded, f"POST {models.INFER} HTTP/1.1", "host: x", "connection: close")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"x-penstock-model-version" not in answer
    record = eventually(lambda: guarded.records()[before:])[0]
    assert (record.route, record.version, record.model) == ("", "", "")
    assert guarded.statistic(split) == counted_before


@pytest.mark.parametrize("origin", ["http://page", ""])
def test_what_a_caller_says_of_itself_is_in_no_record(guarded: DataPlane, origin: str):
    """Also where a browser is answered at once, or a call refused: forged fields would be billed to somebody."""
    forged = "id1\tingress\tsplit\t1\t9\t9\t200\t0\t1\t10.0.0.1:8001\t-\t9\t9\tvictim\tp\tm\t3\tB\te\t\tu\tx"
    asked = {"origin": origin, "access-control-request-method": "POST"} if origin else {}
    said = {**asked, "x-request-id": forged, "x-penstock-tenant": "victim", "x-penstock-scope": "m"}
    before = len(guarded.records())
    over_http(guarded, models.INFER, said, "OPTIONS" if origin else "POST")
    record = eventually(lambda: guarded.records()[before:])[0]
    assert (record.tenant, record.principal, record.upstream) == ("anonymous", "anonymous", "")
    assert record.request_id != "id1"
    assert not record.reached_triton
    assert record.client_request_id == forged.replace("\t", "?")[:128]
