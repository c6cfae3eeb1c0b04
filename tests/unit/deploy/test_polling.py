from __future__ import annotations

import pytest

from tests.polling import eventually, eventually_async


def test_the_first_true_answer_counts() -> None:
    answers = iter([0, None, 7])
    assert eventually(lambda: next(answers)) == 7


def test_a_probe_that_raises_is_asked_again_and_named_at_the_end() -> None:
    with pytest.raises(AssertionError, match=r"the server came within 0 s; ConnectionError: refused") as caught:
        eventually(lambda: (_ for _ in ()).throw(ConnectionError("refused")), within=0, message="the server came")
    assert isinstance(caught.value.__cause__, ConnectionError)


async def test_both_kinds_of_probe_can_be_awaited() -> None:
    async def yes() -> bool:
        return True

    assert await eventually_async(yes)
    assert await eventually_async(lambda: 3) == 3
    with pytest.raises(AssertionError, match="the last answer was 0"):
        await eventually_async(lambda: 0, within=0)
