"""Mutations that may be sent twice: the second time the first answer comes back and nothing is done."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from libs.errors import AlreadyExists, Invalid, Violation
from libs.identity import caller
from libs.postgres import Database

Answer = TypeVar("Answer", bound=Message)
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
    if len(request.request_id.encode()) > LONGEST_REQUEST_ID:
        raise Invalid([Violation("request_id", f"longer than {LONGEST_REQUEST_ID} bytes")])
    if "\0" in request.request_id:
        raise Invalid([Violation("request_id", "contains a NUL, which Postgres does not store")])
    async with database.transaction() as connection:
        if not request.request_id:
            return await perform()
        tenant, method = caller().tenant, type(request).__name__
        digest = hashlib.sha256(request.SerializeToString(deterministic=True)).digest()
        claimed = await connection.fetchval(
            "INSERT INTO mutation (tenant, request_id, method, digest) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT DO NOTHING RETURNING true",
            tenant,
            request.request_id,
            method,
            digest,
        )
        if claimed:
            answer = await perform()
            await connection.execute(
                "UPDATE mutation SET answer = $3 WHERE tenant = $1 AND request_id = $2",
                tenant,
                request.request_id,
                answer.SerializeToString(),
            )
            return answer
        first = await connection.fetchrow(
            "SELECT method, digest, answer FROM mutation WHERE tenant = $1 AND request_id = $2",
            tenant,
            request.request_id,
        )
        if first is None or first["method"] != method or first["digest"] != digest:
            message = f"request id {request.request_id!r} was used before with other content"
            raise AlreadyExists("REQUEST_ID_REUSED", message, request_id=request.request_id)
        return answer_type.FromString(first["answer"])
