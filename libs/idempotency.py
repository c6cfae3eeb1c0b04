"""Mutations that may be sent twice: the second time the first answer comes back and nothing is done."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Never, Protocol, TypeVar

from google.protobuf.message import Message

from libs.errors import AlreadyExists, Invalid, PenstockError, Violation
from libs.identity import caller
from libs.postgres import Connection, Database

Answer = TypeVar("Answer", bound=Message)
Heard = TypeVar("Heard")
LONGEST_REQUEST_ID = 64


class Mutation(Protocol):
    """Every mutating request."""

    @property
    def request_id(self) -> str: ...
    def SerializeToString(self, *, deterministic: bool = ...) -> bytes: ...  # noqa: N802  protobuf's name


async def once(
    database: Database, request: Mutation, answer_type: type[Answer], perform: Callable[[], Awaitable[Answer]]
) -> Answer:
    """Run `perform` in a transaction and remember its answer under the request's id, in the same transaction.

    A repeat with the same content returns the first answer; with other content it is REQUEST_ID_REUSED.
    Ids of one tenant mean nothing to another. A failed mutation is not remembered. Two at the same time: the second
    waits for the first.
    """
    _check(request)
    async with database.transaction() as connection:
        if not request.request_id:
            return await perform()
        claimed = await connection.fetchval(
            "INSERT INTO mutation (tenant, request_id, method, digest) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT DO NOTHING RETURNING true",
            caller().tenant,
            request.request_id,
            type(request).__name__,
            _digest(request),
        )
        if claimed:
            answer = await perform()
            await connection.execute(
                "UPDATE mutation SET answer = $3 WHERE tenant = $1 AND request_id = $2",
                caller().tenant,
                request.request_id,
                answer.SerializeToString(),
            )
            return answer
        first = await _first(connection, request, answer_type)
        if first is None:
            raise _reused(request)
        return first


async def once_after(
    database: Database,
    request: Mutation,
    ask: Callable[[], Awaitable[Heard]],
    answer_type: type[Answer],
    perform: Callable[[Heard], Awaitable[Answer]],
) -> Answer:
    """As `once`, for a `perform` that has to know what others say: `ask` asks them before the transaction begins.

    Who waits for another service holds no connection meanwhile; else as many as a pool has, here and there, wait for
    each other until their deadlines. A repeat is answered without asking. What `ask` raises is raised unless the same
    request, sent twice at once, has been done meanwhile. What it read may have changed when `perform` runs.
    """
    _check(request)
    if not request.request_id:
        heard = await ask()
        return await once(database, request, answer_type, lambda: perform(heard))
    async with database.connection() as connection:
        first = await _first(connection, request, answer_type)
    if first is not None:
        return first
    try:
        heard = await ask()
    except PenstockError as error:
        return await once(database, request, answer_type, _raising(error))
    return await once(database, request, answer_type, lambda: perform(heard))


def _raising(error: PenstockError) -> Callable[[], Awaitable[Never]]:
    async def perform() -> Never:
        raise error

    return perform


def _check(request: Mutation) -> None:
    if len(request.request_id.encode()) > LONGEST_REQUEST_ID:
        raise Invalid([Violation("request_id", f"longer than {LONGEST_REQUEST_ID} bytes")])
    if "\0" in request.request_id:
        raise Invalid([Violation("request_id", "contains a NUL, which Postgres does not store")])


async def _first(connection: Connection, request: Mutation, answer_type: type[Answer]) -> Answer | None:
    """What the same request was answered; None when it is the first. Raises AlreadyExists for another's id."""
    row = await connection.fetchrow(
        "SELECT method, digest, answer FROM mutation WHERE tenant = $1 AND request_id = $2",
        caller().tenant,
        request.request_id,
    )
    if row is None:
        return None
    if row["method"] != type(request).__name__ or row["digest"] != _digest(request):
        raise _reused(request)
    return answer_type.FromString(row["answer"])


def _digest(request: Mutation) -> bytes:
    return hashlib.sha256(request.SerializeToString(deterministic=True)).digest()


def _reused(request: Mutation) -> AlreadyExists:
    message = f"request id {request.request_id!r} was used before with other content"
    return AlreadyExists("REQUEST_ID_REUSED", message, request_id=request.request_id)
