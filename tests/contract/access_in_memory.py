"""The stores of keys and limits without Postgres: what they must do, in the fewest words."""

import asyncio
from collections import Counter
from dataclasses import replace
from uuid import uuid4

from libs.errors import AlreadyExists, Conflict, NotFound, Precondition
from services.routing.domain.limits import StoredLimit, require_room


class KeysInMemory:
    def __init__(self):
        self._stored = {}
        self._changed = asyncio.Event()
        self._changed.set()

    async def create(self, stored):
        self._stored[stored.key.id] = stored
        self._changed.set()

    async def create_first(self, stored, keep):
        if self._stored:
            return False
        keep()
        await self.create(stored)
        return True

    async def get(self, key_id):
        if key_id not in self._stored:
            raise NotFound("API_KEY_NOT_FOUND", f"there is no key {key_id!r}", id=key_id)
        return self._stored[key_id]

    async def list(self, tenant, after, most):
        found = (stored for _, stored in sorted(self._stored.items()) if tenant in ("", stored.key.tenant))
        return [stored for stored in found if stored.key.id > after][:most]

    async def revoke(self, key_id, revoker, now):
        stored = await self.get(key_id)
        if stored.revoke_time is None:
            others = (s.key for s in self._stored.values() if s.revoke_time is None and s.key.id != key_id)
            if "admin" in stored.key.roles and not any("admin" in key.roles for key in others):
                raise Precondition("LAST_ADMIN_KEY", "the last one", id=key_id)
            stored = replace(stored, revoker=revoker, revoke_time=now)
            await self.create(stored)
        return stored

    async def watch(self):
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield tuple(stored.key for _, stored in sorted(self._stored.items()) if stored.revoke_time is None)


class LimitsInMemory:
    def __init__(self):
        self._stored = {}
        self._changed = asyncio.Event()
        self._changed.set()

    async def create(self, limit, now):
        if limit.name in self._stored:
            raise AlreadyExists("RATE_LIMIT_EXISTS", f"there is a limit {limit.name!r} already", name=limit.name)
        counts = Counter(stored.limit.tenant for stored in self._stored.values()) + Counter([limit.tenant])
        own = {limit.tenant} if limit.tenant else counts.keys()
        require_room(limit.tenant, counts[""] + max((counts[tenant] for tenant in own if tenant), default=0))
        return self._write(StoredLimit(limit, uuid4().hex, now, now))

    async def get(self, name):
        if name not in self._stored:
            raise NotFound("RATE_LIMIT_NOT_FOUND", f"there is no limit {name!r}", name=name)
        return self._stored[name]

    async def list(self, tenant, after, most):
        found = (stored for _, stored in sorted(self._stored.items()) if tenant in ("", stored.limit.tenant))
        return [stored for stored in found if stored.limit.name > after][:most]

    async def change(self, name, etag, now, change):
        current = await self._matching(name, etag)
        return self._write(StoredLimit(change(current.limit), uuid4().hex, current.create_time, now))

    async def delete(self, name, etag):
        await self._matching(name, etag)
        del self._stored[name]
        self._changed.set()

    async def watch(self):
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield tuple(stored.limit for _, stored in sorted(self._stored.items()))

    async def _matching(self, name, etag):
        stored = await self.get(name)
        if etag and etag != stored.etag:
            raise Conflict("ETAG_MISMATCH", "read it again", etag=stored.etag)
        return stored

    def _write(self, stored):
        self._stored[stored.limit.name] = stored
        self._changed.set()
        return stored
