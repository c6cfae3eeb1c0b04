"""What Postgres' errors mean to whoever called. One that is not here is a fault of ours."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from libs.errors import Conflict, Invalid, PenstockError, TooLate, Unavailable, Violation

log = logging.getLogger(__name__)

UNREACHABLE = (
    ConnectionError,
    # asyncpg's command_timeout raises the plain one: Postgres hangs
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # of a session that was ended while it was idle, used before the driver has read that
    asyncpg.InternalClientError,
)
UNABLE = (
    # shutting down, starting, dropping the session or the database
    asyncpg.OperatorInterventionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # disk, memory, connections
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    # a server that has been demoted: another one writes now
    asyncpg.ReadOnlySQLTransactionError,
)
LATE = (asyncpg.QueryCanceledError, asyncpg.TransactionTimeoutError)
CROSSED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError)
UNSTORABLE = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


@contextmanager
def refusals() -> Generator[None]:
    """Within the block errors of Postgres become ours."""
    try:
        yield
    except Exception as error:  # what has no meaning for the caller is raised as it came
        known = meaning(error)
        if known is None:
            raise
        if not isinstance(error, UNREACHABLE):  # of those the Database tells once
            log.warning("Postgres refuses: %s", error)
        raise known from error


def meaning(error: Exception) -> PenstockError | None:
    """None where it is not the store's to explain."""
    # a cancelled statement is one of those that operators bring about
    if isinstance(error, LATE):
        return TooLate("STORE_TIMEOUT", "Postgres gave the statement up: it took longer than it may", store="postgres")
    if isinstance(error, UNREACHABLE):
        return _unavailable("Postgres cannot be reached")
    if isinstance(error, UNABLE):
        return _unavailable("Postgres cannot do this now")
    if isinstance(error, CROSSED):
        message = "another change was made at the same moment, this one was given up: send it again"
        return Conflict("STORE_CONFLICT", message, retry_after_seconds=0, store="postgres")
    if isinstance(error, UNSTORABLE):
        return Invalid([Violation("", "a text holds a NUL, which Postgres does not store")])
    return None


def _unavailable(message: str) -> Unavailable:
    return Unavailable("STORE_UNAVAILABLE", message, retry_after_seconds=1, store="postgres")
