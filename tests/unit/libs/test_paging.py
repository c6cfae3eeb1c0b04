import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import Invalid
from libs.paging import page

names_in_a_store = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


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


@pytest.mark.parametrize(
    "token", ["%%%", "bm90IGpzb24=", "WzFd", "WyJhIiwgImIiXQ==", "WyJcdTAwMDAiXQ==", "WyJcdWQ4MDAiXQ=="]
)
def test_a_made_up_token_is_refused(token):
    with pytest.raises(Invalid) as raised:
        page(10, token)
    assert raised.value.reason == "INVALID_PAGE_TOKEN"
