import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.feature_store.domain.columns import Column, Rows, ValueType
from services.feature_store.domain.definitions import Aggregation, Function
from services.feature_store.domain.features import Status
from services.feature_store.domain.windows import aggregate
from tests.unit.feature_store.declared_features import answers


def events(numbers, value_type=ValueType.DOUBLE):
    times = np.arange(len(numbers)) + 1
    return Rows(times, times, {"x": Column.of(value_type, numbers)})


def over(function, numbers, first, end, value_type=ValueType.DOUBLE):
    first, end = np.array(first), np.array(end)
    field = "" if function is Function.COUNT else "x"
    known = np.ones(len(first), np.bool_)
    feature = aggregate(Aggregation("f", function, field, 1), events(numbers, value_type), first, end, known)
    return [value for value, _, _ in answers(feature)]


@pytest.mark.parametrize("numbers", [[0.1] * 10, [1e16, 0.1, -1e16], [1e289, 1.0, -1e289, 0.5]])
def test_a_sum_is_exact_and_does_not_depend_on_the_order(numbers):
    for order in itertools.islice(itertools.permutations(numbers), 24):
        assert over(Function.SUM, list(order), [0], [len(order)]) == [math.fsum(numbers)]
        assert over(Function.MEAN, list(order), [0], [len(order)]) == [math.fsum(numbers) / len(numbers)]


@given(
    st.lists(st.none() | st.integers(-(10**6), 10**6).map(float) | st.floats(-1e6, 1e6), max_size=30),
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=20),
)
def test_each_window_is_what_is_in_it(numbers, spans):
    """Windows in any order, empty, overlapping, repeated."""
    spans = [tuple(sorted((min(a, len(numbers)), min(b, len(numbers))))) for a, b in spans]
    first, end = [a for a, _ in spans], [b for _, b in spans]
    inside = [[n for n in numbers[a:b] if n is not None] for a, b in spans]
    assert over(Function.COUNT, numbers, first, end) == [b - a for a, b in spans]
    assert over(Function.SUM, numbers, first, end) == [math.fsum(n) for n in inside]
    assert over(Function.MEAN, numbers, first, end) == [math.fsum(n) / len(n) if n else None for n in inside]
    assert over(Function.MIN, numbers, first, end) == [min(n, default=None) for n in inside]
    assert over(Function.MAX, numbers, first, end) == [max(n, default=None) for n in inside]


def test_the_smallest_of_both_zeros_is_one_thing():
    for zeros in ([0.0, -0.0], [-0.0, 0.0]):
        for function in (Function.MIN, Function.MAX, Function.SUM):
            assert math.copysign(1, over(function, zeros, [0], [2])[0]) == 1


def test_truths_and_whole_numbers_are_summed():
    assert over(Function.MEAN, [True, False, None, True], [0], [4], ValueType.BOOL) == [2 / 3]
    assert over(Function.SUM, [2**60, 1, -(2**60)], [0], [3], ValueType.INT64) == [1.0]
    assert over(Function.MAX, [1, None, 3], [0], [3], ValueType.INT64) == [3.0]


def test_where_nothing_can_be_known_nothing_is_said():
    known = np.array([True, False])
    feature = aggregate(
        Aggregation("f", Function.COUNT, "", 1), events([1.0]), np.array([0, 0]), np.array([1, 1]), known
    )
    assert answers(feature) == [(1, Status.PRESENT, 1), (None, Status.NOT_FOUND, 0)]
