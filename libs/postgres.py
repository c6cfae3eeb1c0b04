"""Postgres: one schema for a service, a pool that opens itself again, ambient transactions, notifications.

Stores write `async with database.connection() as connection:`; inside `async with database.transaction():` that is the
transaction's connection, so several store calls commit or fail together without passing a connection around.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from libs.errors import Unavailable
from libs.migrations import migrate
from libs.refusals import refusals

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    Connection: TypeAlias = PoolConnectionProxy[asyncpg.Record]
else:
    # generic in asyncpg's stubs only
    Connection = PoolConnectionProxy
RETRY_SECONDS = 0.5
COMMAND_TIMEOUT_SECONDS = 10.0


class Database:
    """A service's schema. Run `keep_open()` in the background; until it has connected, every use is Unavailable."""

    def __init__(self, dsn: str, schema: str, migrations: Path, *, most_connections: int = 10) -> None:
        self._dsn = dsn
        self._schema = schema
        self._migrations = migrations
        self._most = most_connections
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._listeners: dict[str, list[Callable[[str], None]]] = {}
        self._ambient: ContextVar[Connection | None] = ContextVar(f"transaction:{schema}", default=None)
        self._connected = asyncio.Event()
        self.reachable = False

    async def open(self) -> None:
        """Connect and migrate once; raises what the driver raises."""
        pool = await asyncpg.create_pool(
            self._dsn,
            min_size=1,
            max_size=self._most,
            timeout=5,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            server_settings={"search_path": self._schema, "application_name": f"penstock-{self._schema}"},
        )
        try:
            async with pool.acquire() as connection:
                await migrate(connection, self._schema, self._migrations)
        except BaseException:  # a cancelled start must not leave connections open
            pool.terminate()
            raise
        self._pool = pool
        self.reachable = True
        self._connected.set()

    async def close(self) -> None:
        if self._pool is not None:
            self._pool.terminate()

    async def connected(self) -> None:
        """Wait for the first connection."""
        await self._connected.wait()

    async def keep_open(self) -> None:
        """For ever: connect, listen for notifications, and begin again whenever Postgres goes away."""
        told = False
        while True:
            try:
                if self._pool is None:
                    await self.open()
                    told = False
                await self._listen()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                if not told:
                    log.warning("Postgres cannot be reached: %s", error)
                self.reachable, told = False, True
            else:
                told = False
            await asyncio.sleep(RETRY_SECONDS)

    def on_notification(self, channel: str, call: Callable[[str], None]) -> None:
        """Call `call(payload)` at each NOTIFY on `<schema>.<channel>`, and `call("")` after each (re)connection,
        since what was notified meanwhile is lost. Register before `keep_open` runs."""
        self._listeners.setdefault(channel, []).append(call)

    async def notify(self, channel: str, payload: str = "") -> None:
        """Tell every replica, when the ambient transaction commits."""
        async with self.connection() as connection:
            await connection.execute("SELECT pg_notify($1, $2)", f"{self._schema}.{channel}", payload)

    async def _listen(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=5)
        try:
            for channel, calls in self._listeners.items():

                def heard(
                    _c: object, _pid: int, _ch: str, payload: object, calls: list[Callable[[str], None]] = calls
                ) -> None:
                    for call in calls:
                        call(str(payload))

                await connection.add_listener(f"{self._schema}.{channel}", heard)
            self.reachable = True
            for calls in self._listeners.values():
                for call in calls:
                    call("")
            while True:
                await asyncio.sleep(1)
                await connection.execute("SELECT 1", timeout=5)
        finally:
            connection.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """The ambient transaction's connection, or one of the pool for this block."""
        ambient = self._ambient.get()
        if ambient is not None:
            yield ambient
            return
        with refusals():
            pool = self._pool
            if pool is None:
                raise ConnectionError("not connected yet")
            try:
                connection = await pool.acquire(timeout=5)
            except OSError as error:  # only here does it speak of Postgres: in the block it may be the caller's own
                raise ConnectionError(str(error)) from error
        try:
            with refusals():
                yield connection
        except Unavailable as error:
            if isinstance(error.__cause__, asyncpg.ReadOnlySQLTransactionError):
                await pool.expire_connections()  # they all lead to a server that has been demoted
            raise
        finally:
            await pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """Everything in this block, in whatever store, commits together. Inside another, a savepoint."""
        async with self.connection() as connection:
            with refusals():
                async with connection.transaction():
                    token = self._ambient.set(connection)
                    try:
                        yield connection
                    finally:
                        self._ambient.reset(token)
