"""What clients can write that no library would: each gets a clear status, and none goes round the policy."""

from __future__ import annotations

import grpc
import pytest

from tests.integration.dataplane import models
from tests.integration.dataplane.load import under_load
from tests.integration.dataplane.plane import DataPlane
from tests.rest import Rest

TENSOR = models.request(model="").SerializeToString()
NAME, VERSION = 1, 2
field = models.text_field


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (TENSOR + field(NAME, b"m"), "1"),
        (field(NAME, b"zzz") + TENSOR + field(NAME, b"m"), "1"),
        (field(VERSION, b"1") + field(NAME, b"m") + TENSOR + field(VERSION, b"2"), "2"),
        (field(VERSION, b"2") + field(NAME, b"m") + TENSOR + field(VERSION, b""), "1"),
        (b"\x8a\x00\x01m" + TENSOR, "1"),
        (b"\x0a\x81\x80\x00m" + TENSOR, "1"),
        (TENSOR + field(NAME, b"m") + b"\x78\x05\x79eightxxx\x7dfour", "1"),
        (field(3, b"x" * 100) * 60 + TENSOR + field(NAME, b"m"), "1"),
        (b"\x1a\xe8\x3f" + b"x" * 8168 + TENSOR + field(NAME, b"m") + field(VERSION, b"2"), "2"),
    ],
    ids=["name last", "name twice", "version twice", "version unset", "long tag", "long length", "unknown fields",
         "many fields", "name behind the window"],
)  # fmt: skip
def test_what_triton_reads_is_what_is_routed(ingress: grpc.Channel, message: bytes, expected: str):
    answer = models.call(ingress, message)
    assert (answer.code, answer.version) == ("OK", expected)


@pytest.mark.parametrize(
    ("message", "code", "text"),
    [
        (field(NAME, b"m") + TENSOR + field(NAME, b"zzz"), "NOT_FOUND", "model 'zzz' has no route"),
        (TENSOR, "INVALID_ARGUMENT", "model_name is missing"),
        (b"", "INVALID_ARGUMENT", "model_name is missing"),
        (field(NAME, b"-") + TENSOR, "NOT_FOUND", "no model can have the name that was given"),
        (field(NAME, b"m,zzz") + TENSOR, "NOT_FOUND", "no model can have the name that was given"),
        (field(NAME, b"m\nx") + TENSOR, "NOT_FOUND", "no model can have the name that was given"),
        (b"\x0a\x80\x02" + b"m" * 256 + TENSOR, "NOT_FOUND", "no model can have the name that was given"),
        (b"\x0a\x7f" + b"m" * 127 + TENSOR, "NOT_FOUND", f"model '{'m' * 127}' has no route"),
        (b"\x0a\x80\x01" + b"m" * 128 + TENSOR, "NOT_FOUND", "no model can have the name that was given"),
        (field(NAME, b"m") + field(VERSION, b"1\n") + TENSOR, "NOT_FOUND", "model m has no version ? deployed"),
    ],
    ids=["name twice", "no name", "empty", "the scope of no model", "comma", "line break", "name too long",
         "the longest name", "one byte more", "version with a line break"],
)  # fmt: skip
def test_names_that_nothing_has_are_refused(ingress: grpc.Channel, message: bytes, code: str, text: str):
    answer = models.call(ingress, message)
    assert (answer.code, answer.text) == (code, text)


@pytest.mark.parametrize(
    "message",
    [
        field(NAME, b"m") + TENSOR + b"\x8a\x80\x80\x80\x10\x03zzz",
        field(NAME, b"m") + TENSOR + b"\x43\x44",
        b"\xff\xff\xff",
        field(NAME, b"m") + TENSOR + b"\x3a\x7f",
        field(NAME, b"m") + TENSOR + b"\x0a",
        field(NAME, b"m") + b"\x00\x00" + TENSOR,
    ],
    ids=["tag of more than 32 bits", "group", "noise", "length beyond the end", "cut after a tag", "field 0"],
)
def test_what_cannot_be_read_is_refused_on_the_mesh(data_plane: DataPlane, message: bytes):
    with data_plane.channel("mesh") as channel:
        answer = models.call(channel, message)
    assert (answer.code, answer.text) == ("UNIMPLEMENTED", "the mesh takes one uncompressed ModelInferRequest")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["a", "b"], "is given more than once"),
        (["a", "a"], "is given more than once"),
        (["x" * 5000], "has 5000 bytes; at most 1024 are allowed"),
    ],
    ids=["two", "the same twice", "5,000 bytes"],
)
def test_routing_keys_that_cannot_be_used_are_refused(
    data_plane: DataPlane, ingress: grpc.Channel, keys: list[str], text: str
):
    answer = models.call(ingress, metadata=[("x-penstock-routing-key", key) for key in keys])
    assert (answer.code, answer.text) == ("INVALID_ARGUMENT", f"x-penstock-routing-key {text}")
    record = data_plane.record(answer.headers["x-request-id"])
    assert (record.unit, record.grpc_status, record.reached_triton) == ("", 3, False)


@pytest.mark.parametrize(
    "key", [b"a\tb", b"\xff\xfe", b"\xed\xa0\x80", b"\xc4"], ids=["tab", "noise", "surrogate", "cut"]
)
def test_routing_keys_that_are_no_text_are_refused(data_plane: DataPlane, key: bytes):
    headers = models.call_over_http1(data_plane.stack.address("ingress"), key)
    assert (headers["grpc-status"], headers["grpc-message"]) == (
        "3",
        "x-penstock-routing-key must be UTF-8 without control characters",
    )
    assert data_plane.record(headers["x-request-id"]).unit == ""


def test_an_empty_routing_key_is_none(data_plane: DataPlane, ingress: grpc.Channel):
    answer = models.call(ingress, metadata=[("x-penstock-routing-key", "")])
    assert answer.code == "OK"
    assert data_plane.record(answer.headers["x-request-id"]).unit == ""


def test_70_kb_of_headers_are_refused_in_words(data_plane: DataPlane, ingress: grpc.Channel):
    large = {f"x-more-{n}": "v" * 7_000 for n in range(10)}
    with under_load(data_plane, callers=4) as load:
        for _ in range(20):
            answer = models.call(ingress, metadata=list(large.items()))
            assert (answer.code, answer.text) == ("RESOURCE_EXHAUSTED", "the headers have more than 61440 bytes")
        load.wait_for(100)
        assert models.call(ingress).code == "OK", "on the same connection"
    assert load.codes() == {"OK": len(load.calls)}
    assert data_plane.record(answer.headers["x-request-id"]).upstream == ""
    rest = Rest(data_plane.stack.address("ingress"))
    for path, told in (("/v1/predictions", "message"), ("/v2/models/m/infer", "error")):
        refused = rest.call("POST", path, headers=large)
        assert (refused.status, refused.json[told]) == (431, "the headers have more than 61440 bytes")


def test_one_header_of_70_kb_ends_its_own_connection_and_no_other(data_plane: DataPlane, ingress: grpc.Channel):
    """Nobody can answer: what Envoy cannot decode it cannot go on behind."""
    with under_load(data_plane, callers=4) as load, data_plane.channel() as own:
        assert models.call(own, metadata=[("x-more", "v" * 70_000)]).code in {"UNAVAILABLE", "INTERNAL"}
        load.wait_for(100)
        assert models.call(own).code == "OK", "once it has connected again"
    assert load.codes() == {"OK": len(load.calls)}


def test_headers_that_only_the_edge_may_set_change_nothing(data_plane: DataPlane, ingress: grpc.Channel):
    forged = [
        ("x-penstock-scope", "zzz"),
        ("x-penstock-chain", "9,9,9"),
        ("x-penstock-pin", "2"),
        ("x-penstock-door", "slow"),
        ("x-penstock-tenant", "somebody"),
        ("x-envoy-max-retries", "0"),
        ("x-envoy-attempt-count", "5"),
        ("x-envoy-upstream-rq-timeout-ms", "1"),
    ]
    answer = models.call(ingress, metadata=forged)
    assert (answer.code, answer.version) == ("OK", "1")
    record = data_plane.record(answer.headers["x-request-id"])
    assert (record.tenant, record.route, record.attempts) == ("local", "split", 1)


def wrong(**changes: object) -> bytes:
    message = models.request()
    tensor = message.inputs[0]
    tensor.name = str(changes.get("name", "X"))
    tensor.datatype = str(changes.get("datatype", "FP32"))
    if "shape" in changes:
        del tensor.shape[:]
        tensor.shape.extend([1, 5])
    return message.SerializeToString()


@pytest.mark.parametrize("message", [wrong(name="Z"), wrong(datatype="INT64"), wrong(shape=True)])
def test_tritons_own_refusal_is_passed_on_unchanged_and_not_tried_again(
    data_plane: DataPlane, ingress: grpc.Channel, message: bytes
):
    with data_plane.channel("triton_a_grpc") as bare:
        own = models.call(bare, message + field(VERSION, b"1"))
    answer = models.call(ingress, message)
    assert (answer.code, answer.text) == (own.code, own.text)
    assert answer.code == "INVALID_ARGUMENT"
    assert data_plane.record(answer.headers["x-request-id"]).attempts == 1


def test_bodies_of_64_mib_pass_and_larger_ones_are_refused(data_plane: DataPlane, ingress: grpc.Channel):
    rows = 4 * 1024 * 1024
    answer = models.call(ingress, models.request(rows=rows))
    assert (answer.code, answer.version) == ("OK", "1")
    answer = models.call(ingress, models.request(rows=rows + rows // 8))
    assert answer.code == "RESOURCE_EXHAUSTED"
