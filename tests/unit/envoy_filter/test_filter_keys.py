"""A routing key is what Python decodes as UTF-8, without the control characters that services refuse, too."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.routing.domain.routes import CONTROL
from tests.unit.envoy_filter.native import Filters

NO_TEXT = "x-penstock-routing-key must be UTF-8 without control characters"


def expected(key: bytes) -> str:
    if len(key) > 1024:
        return f"x-penstock-routing-key has {len(key)} bytes; at most 1024 are allowed"
    try:
        text = key.decode()
    except UnicodeDecodeError:
        return NO_TEXT
    return NO_TEXT if CONTROL.search(text) else ""


@settings(max_examples=1000, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=20),
        st.text(max_size=20).map(str.encode),
        st.text(st.characters(exclude_categories=()), max_size=20).map(
            lambda text: text.encode(errors="surrogatepass")
        ),
        st.builds(lambda text, cut: text.encode()[:cut], st.text(max_size=20), st.integers(0, 20)),
        st.integers(1020, 1030).map(lambda size: b"k" * size),
    )
)
def test_keys_are_what_python_decodes(filters: Filters, key: bytes):
    assert filters.fault_of(key) == expected(key)


@pytest.mark.parametrize("size", [2, 3, 4])
def test_every_beginning_of_a_character(filters: Filters, size: int):
    begins = [bytes([first, second]) for first in range(256) for second in (0x41, *range(0x7F, 256))]
    keys = [begin + b"\x80" * (size - 2) for begin in begins]
    assert [key for key in keys if filters.fault_of(key) != expected(key)] == []
