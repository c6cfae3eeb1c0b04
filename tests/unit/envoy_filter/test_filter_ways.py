"""The way that a route gives a call, as routing writes it and the filter reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from tests.unit.envoy_filter.native import Filters, Way

NUMBERS = st.integers(0, 999_999_999)
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1, max_size=40).map(str.encode)
WORDS = ("version", "variant", "experiment", "degraded")


@given(
    room=st.tuples(NUMBERS, NUMBERS, NUMBERS),
    chain=st.lists(st.tuples(st.none() | NAMES, NAMES), max_size=6),
    said=st.dictionaries(st.sampled_from(WORDS), TEXTS),
)
def test_what_is_said_is_read(filters: Filters, room, chain, said):
    lines = [f"room {' '.join(map(str, room))}".encode()]
    expected, first = dict(said), b""
    if chain:
        named = ",".join(version if model is None else f"{model}/{version}" for model, version in chain)
        expected["chain"] = named.encode()
        lines.append(b"chain " + expected["chain"])
        first = pb.ModelInferRequest(model_name=chain[0][0] or "", model_version=chain[0][1]).SerializeToString()
    lines += [word.encode() + b" " + text for word, text in said.items()]
    assert filters.way_of(b"m", b"\n".join(lines)) == Way(room, first, expected)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\n",
        b"room",
        b"room ",
        b"room 1",
        b"version 1",
        b"version 1\nroom 1 1",
        b"room 1 1\n\n",
        b"room 1 1\nversion",
        b"room 1 1\nversion ",
        b"room 1 1\nversion 1\nversion 2",
        b"room 1 1\nroom 1 1",
        b"room 1 1\nsomething else",
        b"room 1 1\nchain ,1",
        b"room 1 1\nchain /1",
    ],
)
def test_what_is_no_way_is_none(filters: Filters, said: bytes):
    assert filters.way_of(b"m", said) is None


@given(st.binary(max_size=200))
def test_whatever_is_said_is_a_way_or_none(filters: Filters, said: bytes):
    found = filters.way_of(b"m", b"room 1 1\n" + said)
    assert found is None or found.room == (1, 1, 0)
