"""Places behind a bulkhead: never more than the limits say, in order, and all of them given back."""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.envoy_filter import native

OUTSIDE, WAITING, INSIDE = range(3)
ORDINARY, URGENT, COPY = range(3)
CALL_IN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
models = itertools.count()


class Place(ctypes.Structure):
    _fields_ = (
        ("now", ctypes.c_int),
        ("class_", ctypes.c_int),
        ("room", native.Room),
        ("bytes", ctypes.c_size_t),
        ("too_large", ctypes.c_bool),
        ("before", ctypes.c_void_p),
        ("behind", ctypes.c_void_p),
        ("call_in", CALL_IN),
        ("whom", ctypes.c_void_p),
    )


class Bulkhead:
    """Of one model; `called_in` has the numbers of those who waited, in the order in which their turn came."""

    def __init__(self, filters: native.Filters, model: bytes, said: bytes) -> None:
        self._library = filters._library
        self._library.read_room.restype = ctypes.c_bool
        self._library.read_room.argtypes = (native.View, native.View, ctypes.POINTER(native.Room))
        self.called_in: list[int] = []
        self._call_in = CALL_IN(lambda number: self.called_in.append(number or 0))
        self._texts = [native.Guarded(text) for text in (model, said)]
        room = native.Room()
        found = self._library.read_room(*(text.view for text in self._texts), room)
        self.room = ctypes.pointer(room) if found else None

    def come(self, number: int, of: int = ORDINARY, size: int = 0) -> Place:
        place = Place()
        if self._library.take_place(self.room, of, ctypes.byref(place)) == OUTSIDE:
            place.bytes, place.call_in, place.whom = size, self._call_in, number
            self._library.wait_for_place(ctypes.byref(place))
        return place

    def leave(self, place: Place) -> None:
        self._library.leave_place(ctypes.byref(place))


def bulkhead(filters: native.Filters, said: bytes) -> Bulkhead:
    return Bulkhead(filters, b"model %d" % next(models), said)


@pytest.mark.parametrize(
    "said", [b"", b"5", b"5 ", b"5 x", b"-1 5", b"5 1 x", b"5 1 1 1", b"1234567890 1", b" 5 1", b"5  1"]
)
def test_what_is_no_limit_makes_no_room(filters: native.Filters, said: bytes):
    assert not bulkhead(filters, said).room


@given(
    st.integers(1, 3),
    st.integers(0, 3),
    st.lists(st.tuples(st.sampled_from("+++-"), st.integers(0, 20)), max_size=60),
)
def test_places_are_as_many_as_the_limits_say_and_turns_come_in_order(
    filters: native.Filters, most: int, most_waiting: int, steps: list[tuple[str, int]]
):
    tried = bulkhead(filters, b"%d %d" % (most, most_waiting))
    inside: list[int] = []
    waiting: deque[int] = deque()
    places: dict[int, Place] = {}
    called: list[int] = []
    for number, (step, which) in enumerate(steps, 1):
        if step == "+":
            places[number] = tried.come(number)
            expected = (
                INSIDE if len(inside) < most and not waiting else WAITING if len(waiting) < most_waiting else OUTSIDE
            )
            assert places[number].now == expected
            {INSIDE: inside.append, WAITING: waiting.append}.get(expected, places.pop)(number)
        elif places:
            gone = sorted(places)[which % len(places)]
            tried.leave(places.pop(gone))
            if gone in waiting:
                waiting.remove(gone)
            else:
                inside.remove(gone)
            while waiting and len(inside) < most:
                called.append(waiting.popleft())
                inside.append(called[-1])
        assert tried.called_in == called
        assert {number for number, place in places.items() if place.now == INSIDE} == set(inside)
    for place in places.values():
        tried.leave(place)
    again = [tried.come(n) for n in range(most)]
    assert [place.now for place in again] == [INSIDE] * most


def test_classes_have_room_of_their_own(filters: native.Filters):
    tried = bulkhead(filters, b"1 0")
    first = [tried.come(1, of) for of in (ORDINARY, URGENT, COPY)]
    second = [tried.come(2, of) for of in (ORDINARY, URGENT, COPY)]
    assert ([p.now for p in first], [p.now for p in second]) == ([INSIDE] * 3, [OUTSIDE] * 3)


def test_messages_that_wait_are_not_more_than_memory_is_given_for(filters: native.Filters):
    tried = bulkhead(filters, b"1 100")
    inside = tried.come(1)
    waiting = [tried.come(2, size=64 << 20) for _ in range(4)]
    assert [place.now for place in waiting] == [WAITING] * 4
    assert (tried.come(3, size=1).now, tried.come(3, size=0).now) == (OUTSIDE, WAITING)
    tried.leave(inside)
    assert (waiting[0].now, tried.come(4, size=64 << 20).now, tried.come(5, size=1).now) == (INSIDE, WAITING, OUTSIDE)


def test_a_model_has_one_bulkhead_whatever_its_routes_say(filters: native.Filters):
    name = b"model %d" % next(models)
    before, other = Bulkhead(filters, name, b"1 1"), Bulkhead(filters, name + b"!", b"1 1")
    first, waits = before.come(1), before.come(2)
    after = Bulkhead(filters, name, b"3 1")
    assert (after.room.contents.of, after.room.contents.of) == (before.room.contents.of, before.room.contents.of)
    assert other.room.contents.of != before.room.contents.of
    assert (first.now, waits.now, after.come(3).now) == (INSIDE, WAITING, OUTSIDE)
    before.leave(first)
    assert (before.called_in, after.come(4).now) == ([2], INSIDE)


def test_places_are_taken_and_left_by_many_threads_at_once(filters: native.Filters):
    tried = bulkhead(filters, b"2 2")

    def run() -> None:
        for _ in range(500):
            tried.leave(tried.come(1))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [tried.come(1).now for _ in range(5)] == [INSIDE, INSIDE, WAITING, WAITING, OUTSIDE]
