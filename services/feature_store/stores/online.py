"""What readers get now, in Redis.

    fs:{5:local7:airport3:JFK}        hash, one field a batch view (its id): the newest row, packed
    fs:{5:local7:airport3:JFK}:e:12   sorted set, one a stream view (its id): events by event time in µs

    fs:whole                          the run id of the Redis that holds all of it; missing: it has lost everything

Between the braces stands domain.keys.instance_key, so all of an instance lies in one slot of a cluster.
"""

from collections.abc import Callable, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import NoScriptError

from libs.errors import Unavailable
from libs.redis import redis_errors
from services.feature_store.domain.codec import TIMES_OFFSET
from services.feature_store.domain.online import Answer, Events, OnlineEvent, OnlineRow, Question

COMMANDS_AT_ONCE = 500
WHOLE = "fs:whole"

# A row too short to hold times is a wreck: anything may take its place
PUT_ROW = f"""
local stands = redis.call('HGET', KEYS[1], ARGV[1])
if stands and #stands >= {TIMES_OFFSET + 16} then
  local event, created = struct.unpack('<i8i8', stands, {TIMES_OFFSET + 1})
  local new_event, new_created = struct.unpack('<i8i8', ARGV[2], {TIMES_OFFSET + 1})
  if event > new_event or (event == new_event and created > new_created) then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""
# Lua prints 14 digits of a number unless told otherwise, and a time in µs has 16
PUT_EVENTS = """
for i = 2, #ARGV, 2 do redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1]) end
local newest = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', newest - ARGV[1]))
"""

# In one step: a Redis that was restarted while it was filled is not the one that is whole
MARK_WHOLE = """
if not string.find(redis.call('INFO', 'server'), 'run_id:' .. ARGV[1], 1, true) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
return 1
"""


class RedisOnlineStore:
    def __init__(self, client: Redis) -> None:
        self._redis = client
        self._scripts: dict[str, str] = {}
        self._run_id = ""
        self.readable = False
        """As the last check found it: reachable, and not empty of what was written."""

    async def check(self) -> bool:
        """Whether this is still the Redis that was filled, never restarted since: a restart may cost a second's writes.

        One that was restarted is readable while it is filled again, one that is empty is not.
        """

        def ask(pipe: Pipeline) -> None:
            pipe.info("server")
            pipe.get(WHOLE)

        try:
            with redis_errors():
                server, whole = await self._exchange(ask)
        except Unavailable:
            self.readable = False
            raise
        self._run_id = server["run_id"]
        self.readable = whole is not None
        return whole == self._run_id.encode()

    async def filled(self) -> None:
        (marked,) = await self._run(MARK_WHOLE, [(WHOLE.encode(), [self._run_id])])
        self.readable = bool(marked)

    async def put_rows(self, view_id: int, rows: Sequence[OnlineRow]) -> int:
        calls = [(_row_key(row.key), [view_id, row.packed]) for row in rows]
        return sum(await self._run(PUT_ROW, calls))

    async def put_events(self, view_id: int, keep_us: int, events: Sequence[OnlineEvent]) -> None:
        arguments: dict[bytes, list[Any]] = {}
        for event in events:
            arguments.setdefault(event.key, [keep_us]).extend((event.event_us, event.packed))
        await self._run(PUT_EVENTS, [(_event_key(key, view_id), values) for key, values in arguments.items()])

    async def read(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """Unavailable also while an empty Redis is filled: `not found` and `no events` would be lies."""

        def ask(pipe: Pipeline) -> None:
            pipe.exists(WHOLE)
            for key, view_ids, spans in questions:
                if view_ids:
                    pipe.hmget(_row_key(key), [str(view_id) for view_id in view_ids])
                for view_id, since_us, until_us in spans:
                    events = _event_key(key, view_id)
                    pipe.zrevrange(events, 0, 0, withscores=True)
                    pipe.zrangebyscore(events, since_us, f"({until_us}")

        with redis_errors():
            whole, *rest = await self._exchange(ask)
        if not whole:
            message = "Redis has lost its features; they are being restored from history"
            raise Unavailable("STORE_UNAVAILABLE", message, retry_after_seconds=1, store="redis")
        answers = iter(rest)
        found: list[Answer] = []
        for _, view_ids, spans in questions:
            rows = dict(zip(view_ids, next(answers), strict=True)) if view_ids else {}
            found.append(Answer(rows, {span.view_id: _events(next(answers), next(answers)) for span in spans}))
        return found

    async def _run(self, script: str, calls: Sequence[tuple[bytes, list[Any]]]) -> list[Any]:
        """The script once for each (key, arguments); all again, which changes nothing, when Redis has forgotten it."""
        found: list[Any] = []
        with redis_errors():
            for start in range(0, len(calls), COMMANDS_AT_ONCE):
                some = calls[start : start + COMMANDS_AT_ONCE]
                try:
                    found += await self._evaluate(script, some)
                except NoScriptError:
                    self._scripts.pop(script, None)
                    found += await self._evaluate(script, some)
        return found

    async def _evaluate(self, script: str, calls: Sequence[tuple[bytes, list[Any]]]) -> list[Any]:
        if script not in self._scripts:
            self._scripts[script] = await self._redis.script_load(script)
        digest = self._scripts[script]

        def ask(pipe: Pipeline) -> None:
            for key, arguments in calls:
                pipe.evalsha(digest, 1, key, *arguments)

        return await self._exchange(ask)

    async def _exchange(self, ask: Callable[[Pipeline], None]) -> list[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            ask(pipe)
            return await pipe.execute()


def _events(newest: list[tuple[bytes, float]], packed: list[bytes]) -> Events:
    return Events(int(newest[0][1]) if newest else None, packed)


def _row_key(instance: bytes) -> bytes:
    return b"fs:{%s}" % instance


def _event_key(instance: bytes, view_id: int) -> bytes:
    return b"fs:{%s}:e:%d" % (instance, view_id)
