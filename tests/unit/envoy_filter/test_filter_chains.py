"""The n-th entry of a chain is what Python's split says, and is written as protobuf would write it."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from tests.unit.envoy_filter import wire
from tests.unit.envoy_filter.native import Filters, Target

NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")

targets = st.one_of(wire.good_names, st.builds("{}/{}".format, wire.good_names, wire.good_names))
chains = st.one_of(
    st.lists(targets, min_size=1, max_size=8).map(",".join),
    st.lists(st.one_of(targets, st.text("ab1,/.-_ ", max_size=8)), max_size=5).map(",".join),
).map(str.encode)


def expected(chain: bytes, attempt: int) -> Target | None:
    entries = chain.split(b",")
    if not 0 < attempt <= len(entries):
        return None
    *models, version = entries[attempt - 1].split(b"/", 1)
    if not all(NAME.fullmatch(name) for name in [*models, version]):
        return None
    asked = pb.ModelInferRequest(model_version=version.decode())
    if models:
        asked.model_name = models[0].decode()
    return Target(version, asked.SerializeToString())


@settings(max_examples=500, deadline=None)
@given(chain=st.one_of(chains, st.binary(max_size=20)), attempt=st.integers(0, 10))
def test_each_attempt_has_its_entry(filters: Filters, chain: bytes, attempt: int):
    assert filters.target_of(chain, attempt) == expected(chain, attempt)


@given(chain=chains, attempt=st.sampled_from([2**31, 2**32, 2**64 - 1]))
def test_a_chain_has_no_entry_for_an_attempt_that_nobody_makes(filters: Filters, chain: bytes, attempt: int):
    assert filters.target_of(chain, attempt) is None


def test_the_longest_names_have_room(filters: Filters):
    longest = b"m" * 127 + b"/" + b"v" * 127
    assert filters.target_of(longest, 1) == expected(longest, 1) != None  # noqa: E711  a chained comparison
    assert filters.target_of(b"m" + longest, 1) is None
    assert filters.target_of(longest + b"v", 1) is None
