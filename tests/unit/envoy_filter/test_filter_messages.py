"""What the filters read in a message is what protobuf reads in it, and nothing else is read."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from tests.unit.envoy_filter import native, wire
from tests.unit.envoy_filter.native import CUT_SHORT, READ, UNREADABLE, Filters, Name

NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")
thorough = settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def check(found: Name, parsed: str) -> None:
    text = parsed.encode()
    assert found.size == len(text)
    assert found.value() == (text if len(text) <= native.LONGEST_NAME else None)
    assert found.fits == bool(NAME.fullmatch(text))


def parsed(message: bytes) -> pb.ModelInferRequest | None:
    try:
        return pb.ModelInferRequest.FromString(message)
    except DecodeError:
        return None


def test_a_byte_too_far_ends_the_process():
    asked = "import ctypes; from tests.unit.envoy_filter.native import Guarded; g = Guarded(b'four');"
    for beyond, ended in ((0, 0), (1, -signal.SIGSEGV)):
        code = f"{asked} ctypes.string_at(g.view.ptr, g.view.length + {beyond})"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == ended


@thorough
@given(data=st.data(), message=wire.messages)
def test_what_protobuf_reads_is_what_is_read(filters: Filters, data: st.DataObject, message: bytes):
    expected = pb.ModelInferRequest.FromString(message)
    outcome, found = filters.read_names(data.draw(wire.slices_of(wire.frame(message))))
    assert outcome == READ
    check(found.model, expected.model_name)
    check(found.version, expected.model_version)


@thorough
@given(data=st.data(), message=st.one_of(wire.damaged(), st.binary(max_size=200)))
def test_damaged_messages_are_read_alike_or_not_at_all(filters: Filters, data: st.DataObject, message: bytes):
    outcome, found = filters.read_names(data.draw(wire.slices_of(wire.frame(message))))
    expected = parsed(message)
    assert outcome in (READ, UNREADABLE)
    if outcome == READ and expected is not None:
        check(found.model, expected.model_name)
        check(found.version, expected.model_version)


@pytest.mark.parametrize(
    "odd",
    [
        b"\x8a\x80\x80\x80\x10\x01z",
        b"\x02\x01z",
        b"\x00\x00",
        b"\x0b\x0c",
        b"\x0c",
        b"\x0e",
        b"\x78" + b"\xff" * 9 + b"\x02",
    ],
    ids=[
        "tag of more than 32 bits",
        "field 0",
        "tag 0",
        "group",
        "end of a group",
        "no wire type",
        "more than 64 bits",
    ],
)
def test_what_decoders_may_read_differently_is_not_read(filters: Filters, odd: bytes):
    for message in (odd, wire.bytes_field(wire.MODEL_NAME, b"m") + odd):
        assert filters.read_names([wire.frame(message)])[0] == UNREADABLE


@thorough
@given(data=st.data(), whole=st.binary(max_size=64))
def test_noise_harms_nobody(filters: Filters, data: st.DataObject, whole: bytes):
    slices = data.draw(wire.slices_of(whole))
    outcome, _ = filters.read_names(slices)
    assert outcome in (READ, CUT_SHORT, UNREADABLE)
    filters.lengthen_frame(slices, data.draw(st.integers(0, 258)))


@thorough
@given(data=st.data(), message=wire.messages, flag=st.sampled_from([0, 0, 1, 255]), off=st.integers(-3, 3))
def test_only_one_whole_uncompressed_frame_is_read(
    filters: Filters, data: st.DataObject, message: bytes, flag: int, off: int
):
    announced = max(len(message) + off, 0)
    whole = bytes([flag]) + announced.to_bytes(4, "big") + message
    came = whole[: data.draw(st.integers(0, len(whole)))] if data.draw(st.booleans()) else whole
    body = came[5:]
    outcome, _ = filters.read_names(data.draw(wire.slices_of(came)))
    if not came:
        assert outcome == UNREADABLE
    elif len(came) < 5 or announced > len(body):
        assert outcome == CUT_SHORT
    elif flag != 0 or announced < len(body):
        assert outcome == UNREADABLE
    elif body == message:
        assert outcome == READ


@thorough
@given(data=st.data(), message=wire.messages, version=wire.good_names, model=st.none() | wire.good_names)
def test_what_is_appended_is_what_protobuf_reads(
    filters: Filters, data: st.DataObject, message: bytes, version: str, model: str | None
):
    target = filters.target_of(f"{model}/{version}".encode() if model else version.encode(), 1)
    assert target is not None
    slices = filters.lengthen_frame(data.draw(wire.slices_of(wire.frame(message))), len(target.fields))
    assert slices is not None
    whole = b"".join([*slices, target.fields])
    assert whole[:5] == bytes([0]) + (len(whole) - 5).to_bytes(4, "big")
    before, after = pb.ModelInferRequest.FromString(message), pb.ModelInferRequest.FromString(whole[5:])
    assert after.model_version == version
    assert after.model_name == (model or before.model_name)
    before.model_name, before.model_version = after.model_name, after.model_version
    assert after == before
    outcome, found = filters.read_names([*slices, target.fields])
    assert outcome == READ
    check(found.model, after.model_name)
    check(found.version, after.model_version)


@given(data=st.data(), short=st.binary(max_size=4), size=st.integers(0, 258))
def test_there_is_no_length_without_a_frame(filters: Filters, data: st.DataObject, short: bytes, size: int):
    assert filters.lengthen_frame(data.draw(wire.slices_of(short)), size) is None


@given(data=st.data(), announced=st.integers(2**32 - 300, 2**32 - 1), size=st.integers(0, 300))
def test_a_length_never_grows_beyond_its_32_bits(filters: Filters, data: st.DataObject, announced: int, size: int):
    whole = b"\0" + announced.to_bytes(4, "big") + b"message"
    slices = filters.lengthen_frame(data.draw(wire.slices_of(whole)), size)
    if announced + size >= 2**32:
        assert slices is None
    else:
        assert slices is not None
        assert b"".join(slices) == b"\0" + (announced + size).to_bytes(4, "big") + b"message"
