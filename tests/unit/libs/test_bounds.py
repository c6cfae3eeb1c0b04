"""Whatever a request makes us say, the status that leaves is small."""

from urllib.parse import quote

import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from hypothesis import given
from hypothesis import strategies as st

from libs.bounds import bounded, cut
from libs.errors import Invalid, NotFound, Violation
from libs.statuses import status_of

long_texts = st.builds(lambda text, times: text * times, st.text(min_size=1, max_size=8), st.integers(0, 20_000))


def details(status, kind):
    return [made for detail in status.details if detail.Unpack(made := kind())]


def headers(status):
    return len(quote(status.message)) + len(status.SerializeToString()) * 4 / 3


@given(long_texts, st.integers(3, 300))
def test_a_cut_text_is_a_beginning_and_fits(text, most):
    made = cut(text, most)
    valid = text.encode("utf-8", "replace").decode()
    assert len(made.encode()) <= most
    assert made == valid or (made.endswith("…") and valid.startswith(made[:-1]))
    assert made == valid or len(made.encode()) > most - 4, "no more than a character is given away"
    assert cut(made, most) == made


@given(st.lists(st.tuples(long_texts, long_texts), max_size=40))
def test_every_status_of_a_wrong_request_fits(faults):
    status = status_of(Invalid([Violation(field, description) for field, description in faults]))
    assert headers(status) < 8 * 1024
    assert len(status.message.encode()) <= 1024
    (bad,) = details(status, BadRequest)
    assert len(bad.field_violations) <= 20
    assert all(len(v.field.encode()) <= 128 and len(v.description.encode()) <= 256 for v in bad.field_violations)
    assert bounded(status) == status, "a status that a sibling passes on stays as it is"


@pytest.mark.parametrize(("count", "last"), [(20, "wrong"), (21, "and 2 more"), (70_000, "and 69981 more")])
def test_violations_that_are_left_out_are_counted(count, last):
    (bad,) = details(status_of(Invalid([Violation(f"xs[{n}]", "wrong") for n in range(count)])), BadRequest)
    assert len(bad.field_violations) == 20
    assert bad.field_violations[18].field == "xs[18]"
    assert bad.field_violations[19].description == last


@pytest.mark.parametrize("text", ["x" * 70_000, "é" * 70_000, "\0" * 70_000, "\ud800" * 70_000])
def test_a_long_name_is_cut_wherever_it_stands(text):
    status = status_of(NotFound("MODEL_NOT_FOUND", f"no model {text}", model=text, owner=text))
    assert headers(status) < 8 * 1024
    (info,) = details(status, ErrorInfo)
    assert info.reason == "MODEL_NOT_FOUND"
    assert all(len(value.encode()) <= 256 for value in info.metadata.values())
