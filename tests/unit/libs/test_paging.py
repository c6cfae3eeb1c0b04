import base64
from contextvars import copy_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs import call
from libs.errors import Invalid
from libs.paging import page

names_in_a_store = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=200)


@given(st.lists(names_in_a_store, unique=True, max_size=30), st.integers(1, 7))
def test_pages_put_together_are_the_whole_list(names, size):
    names = sorted(names)
    seen, token = [], ""
    while True:
        wanted = page(size, token)
        rows = [n for n in names if not wanted.after or n > wanted.after[0]][: wanted.lookahead]
        kept, token = wanted.split(rows, lambda n: (n,))
        assert len(kept) <= size
        seen += kept
        if not token:
            break
    assert seen == names


def test_size_is_bounded():
    assert page(0, "").size == 100
    assert page(5000, "").size == 1000


def token_of(text):
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "token",
    [
        "%%%",
        *map(
            token_of,
            [
                "not json",
                "[]",
                '["a"]',
                '["", 1]',
                '["", "a", "b"]',
                '["", "\\u0000"]',
                '["", "\\ud800"]',
                '{"a":' + "[" * 5000,
                '{"a":' + "[" * 3000,
                "[" + "9" * 3000,
            ],
        ),
    ],
    ids=range(11),
)
def test_a_made_up_token_is_refused(token):
    with pytest.raises(Invalid) as raised:
        page(10, token)
    assert raised.value.reason == "INVALID_PAGE_TOKEN"


def answering(method, asked):
    """What `asked` says while the method is answered."""
    context = copy_context()
    context.run(call.enter, method)
    return context.run(asked)


def test_a_token_of_another_list_is_refused():
    models, routes = "/m.Registry/ListModels", "/r.Routing/ListRoutes"
    _, token = answering(models, lambda: page(1, "")).split(["a", "b"], lambda name: (name,))
    assert answering(models, lambda: page(1, token)).after == ("a",)
    with pytest.raises(Invalid) as raised:
        answering(routes, lambda: page(1, token))
    assert raised.value.reason == "INVALID_PAGE_TOKEN"
