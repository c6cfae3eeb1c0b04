"""Pages of other origins: what their browsers ask before a call, and what they are told with each answer."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from services.routing.domain.keys import key_hash
from services.routing.domain.policy import ApiKey, RateLimit, Scope
from tests.grpc_web import BINARY, TEXT, ask
from tests.integration.dataplane import models
from tests.integration.dataplane.plane import DataPlane
from tests.rest import Answer, Rest

APP, OTHER = "https://app.example", "https://elsewhere.example"
CALLER = f"penstock_{'a' * 12}_{'s' * 32}"
KEYS = (ApiKey("a" * 12, key_hash(CALLER), "acme", "app", ("caller",)),)
ONE_CALL = RateLimit("one", "acme", Scope.UNIT, 0.001, 1)
SCARCE = {"x-penstock-api-key": CALLER, "x-penstock-routing-key": "a page"}
STRANGE = (OTHER, "null", f"{APP}.evil", APP.replace("https", "http"), f"{APP}:444", "*")
CORS = "access-control-"


@pytest.fixture
def rest(data_plane: DataPlane) -> Rest:
    """Pages of one origin may call."""
    data_plane.apply(data_plane.inputs(), origins=(APP,))
    return Rest(data_plane.stack.address("ingress"))


@pytest.fixture
def guarded(data_plane: DataPlane) -> Rest:
    """The same, and callers need keys."""
    inputs = data_plane.inputs(keys=KEYS, limits=(ONE_CALL,))
    data_plane.apply(inputs, authentication=True, origins=(APP,))
    return Rest(data_plane.stack.address("ingress"))


def preflight(rest: Rest, path: str, origin: str, asked: str = "content-type,x-penstock-api-key") -> Answer:
    headers = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": asked}
    return rest.call("OPTIONS", path, None, headers)


def cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith(CORS)}


def may_read(answer: Answer) -> bool:
    """Whether a page of APP may, and what it needs of the headers with it."""
    told = cors(answer)
    if not told:
        return False
    assert told[f"{CORS}allow-origin"] == APP
    assert {"grpc-status", "x-request-id", "x-penstock-model-version"} <= set(told[f"{CORS}expose-headers"].split(","))
    assert answer.headers["vary"] == "origin"
    return True


@pytest.mark.parametrize("path", [models.INFER, "/v1/predictions", "/v2/models/m/infer", "/nothing"])
def test_a_browser_asks_without_a_key(guarded: Rest, path: str):
    answer = preflight(guarded, path, APP)
    assert (answer.status, answer.body) == (204, b"")
    told = cors(answer)
    assert told[f"{CORS}allow-origin"] == APP
    assert set(told[f"{CORS}allow-methods"].split(", ")) == {"GET", "POST"}
    assert told[f"{CORS}allow-headers"] == "content-type,x-penstock-api-key"
    assert int(told[f"{CORS}max-age"]) > 0


@pytest.mark.parametrize("origin", STRANGE)
def test_other_origins_are_told_nothing(guarded: Rest, origin: str):
    answer = preflight(guarded, models.INFER, origin)
    assert (answer.status, cors(answer)) == (403, {})
    own = {**SCARCE, "x-penstock-routing-key": origin}
    called = ask(guarded, models.INFER, models.request(), origin=origin, **own)
    # it is the browser that keeps the answer from the page: whoever has a key may call
    assert (called.status, cors(called.http)) == (0, {})


@pytest.mark.parametrize("origin", STRANGE)
def test_where_no_key_is_asked_for_other_origins_may_not_call(rest: Rest, origin: str):
    """A page needs no answer to predict, or to use a budget up, by the browser of whoever has such a Penstock."""
    assert preflight(rest, models.INFER, origin).status == 403
    called = ask(rest, models.INFER, models.request(), origin=origin).http
    assert (called.status, cors(called)) == (403, {})
    said = rest.post("/v2/models/m/infer", {}, {"origin": origin})
    assert (said.status, "PENSTOCK_ALLOWED_ORIGINS" in said.json["error"]) == (403, True)
    predicted = rest.post("/v1/predictions", {"model_id": "m"}, {"origin": origin})
    assert (predicted.status, predicted.json["code"], predicted.reason) == (403, 7, "ORIGIN_NOT_ALLOWED")


def test_nor_does_their_grpc(data_plane: DataPlane, ingress: grpc.Channel):
    answer = models.call(ingress, metadata=[("origin", OTHER)])
    assert (answer.code, "is not among PENSTOCK_ALLOWED_ORIGINS" in answer.text) == ("PERMISSION_DENIED", True)
    record = data_plane.record(answer.headers["x-request-id"])
    assert (record.reached_triton, record.tenant) == (False, "local")


@pytest.mark.parametrize(
    ("origin", "host", "let_in"),
    [
        ("http://localhost:8080", "localhost:8080", True),
        ("http://localhost", "localhost", True),
        ("https://127.0.0.1:8080", "127.0.0.1:8080", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("http://localhost:3000", "localhost:8080", False),
        ("http://127.0.0.1:8080", "localhost:8080", False),
        ("http://localhost.evil.example", "localhost.evil.example", False),
        ("http://evil.example:8080", "evil.example:8080", False),
        ("http://", "localhost", False),
        ("localhost", "localhost", False),
    ],
)
def test_own_pages_may_call_unless_somebody_made_a_name_lead_here(rest: Rest, origin: str, host: str, let_in: bool):
    """Whoever answers then, if anybody does."""
    answer = rest.post("/v1/predictions", {"model_id": "m"}, {"origin": origin, "host": host})
    assert (answer.status != 403) is let_in


def test_no_origin_may_unless_one_is_named(data_plane: DataPlane):
    rest = Rest(data_plane.stack.address("ingress"))
    assert preflight(rest, models.INFER, APP).status == 403
    called = ask(rest, models.INFER, models.request(), origin=APP).http
    assert (called.status, cors(called)) == (403, {})


def test_every_origin_may_where_that_is_said(data_plane: DataPlane):
    data_plane.apply(data_plane.inputs(), origins=("*",))
    rest = Rest(data_plane.stack.address("ingress"))
    assert cors(preflight(rest, models.INFER, OTHER))[f"{CORS}allow-origin"] == "*"
    assert cors(ask(rest, models.INFER, models.request(), origin=OTHER).http)[f"{CORS}allow-origin"] == "*"


@pytest.mark.parametrize("kind", [BINARY, TEXT])
def test_an_inference(rest: Rest, kind: str):
    answer = ask(rest, models.INFER, models.request(), kind, origin=APP)
    assert (answer.status, len(answer.messages)) == (0, 1)
    assert may_read(answer.http)


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (lambda rest: ask(rest, models.INFER, models.request("nobody"), origin=APP).http, 200),
        (lambda rest: rest.get("/nothing", origin=APP), 404),
        (lambda rest: rest.get("/v1/nothing", origin=APP), 404),
        (lambda rest: rest.get("/health", origin=APP), 503),
        (lambda rest: rest.get("/openapi.json", origin=APP), 200),
        (lambda rest: rest.post(models.INFER, {}, {"origin": APP}), 415),
    ],
    ids=["unknown model", "unknown path", "unknown REST path", "no service", "document", "no gRPC"],
)
def test_whoever_answers(rest: Rest, call: Callable[[Rest], Answer], status: int):
    answer = call(rest)
    assert answer.status == status
    if status != 415:  # what is no gRPC is refused before anything else, and no page sends it
        assert may_read(answer)


def test_refusals_of_the_edge(guarded: Rest):
    for headers in ({}, {"x-penstock-api-key": "wrong"}):
        answer = ask(guarded, models.INFER, models.request(), origin=APP, **headers).http
        assert (answer.status, may_read(answer)) == (401, True)
    answers = [ask(guarded, models.INFER, models.request(), origin=APP, **SCARCE).http for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 429]
    assert all(may_read(answer) for answer in answers)


def test_a_question_that_is_none_needs_a_key(guarded: Rest):
    assert guarded.call("OPTIONS", "/v2", None, {"origin": APP}).status == 401
    assert guarded.call("OPTIONS", models.INFER, None, {"access-control-request-method": "POST"}).status == 401


def test_rest_is_told_of_its_key_in_json(guarded: Rest):
    for headers, reason in (({}, "API_KEY_REQUIRED"), ({"x-penstock-api-key": "wrong"}, "API_KEY_UNKNOWN")):
        answer = guarded.post("/v1/predictions", {"model_id": "m"}, {"origin": APP, **headers})
        assert (answer.status, answer.json["code"], answer.reason) == (401, 16, reason)
        assert answer.json["message"]
        assert may_read(answer)
