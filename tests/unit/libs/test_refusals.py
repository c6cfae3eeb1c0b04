"""What each error of Postgres means to whoever called, by its SQLSTATE."""

import asyncpg
import pytest

from libs.errors import Conflict, Invalid, NotFound, TooLate, Unavailable
from libs.refusals import meaning, refusals

MEANINGS = {
    Unavailable: {
        "08000", "08001", "08003", "08004", "08006",  # connections
        "25006",  # read only: demoted
        "25P03",  # idle in a transaction for too long
        "53000", "53100", "53200", "53300", "53400",  # resources, disk, memory, connections, a configured limit
        "57P01", "57P02", "57P03", "57P04", "57P05",  # shutting down, crashed, starting, dropped, idle
        "58000", "58030",  # the system, input and output
    },
    TooLate: {"57014", "25P04"},  # a statement was cancelled, a transaction took too long
    Conflict: {"40001", "40P01", "55P03"},  # not serializable, deadlock, lock not to be had
    Invalid: {"22021", "22P05"},  # NUL
    type(None): {"23505", "23503", "23514", "42601", "42P01", "42501", "22012", "25P02", "XX000", "40002"},  # ours
}  # fmt: skip
CASES = [(kind, state) for kind, states in MEANINGS.items() for state in sorted(states)]


@pytest.mark.parametrize(("kind", "state"), CASES)
def test_a_state_has_its_meaning(kind, state):
    error = asyncpg.PostgresError.new({"C": state, "M": "why"})
    assert error.sqlstate == state
    assert type(meaning(error)) is kind


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 15"),
    ],
    ids=repr,
)
def test_what_the_driver_raises_itself(error):
    assert meaning(error).reason == "STORE_UNAVAILABLE"


def test_no_text_of_postgres_leaves():
    with pytest.raises(Unavailable) as raised, refusals():
        raise asyncpg.DiskFullError("could not extend file base/1/2")
    assert "base/1/2" not in raised.value.message


@pytest.mark.parametrize("error", [FileNotFoundError("f"), NotFound("ROUTE_NOT_FOUND", "no"), KeyError("k")], ids=repr)
def test_what_is_the_callers_own_passes(error):
    with pytest.raises(type(error)) as raised, refusals():
        raise error
    assert raised.value is error
