"""The routes' store without Postgres: what a store must do, in the fewest words."""

import asyncio
from uuid import uuid4

from libs.errors import AlreadyExists, Conflict, NotFound
from services.routing.domain.routes import StoredRoute


class RoutesInMemory:
    def __init__(self):
        self._stored = {}
        self._changed = asyncio.Event()
        self._changed.set()

    async def create(self, route, now):
        if route.model in self._stored:
            raise AlreadyExists("ROUTE_EXISTS", f"model {route.model!r} has a route already", model=route.model)
        return self._write(StoredRoute(route, uuid4().hex, now, now))

    async def get(self, model):
        if model not in self._stored:
            raise NotFound("ROUTE_NOT_FOUND", f"model {model!r} has no route", model=model)
        return self._stored[model]

    async def list(self, after, most):
        return [self._stored[model] for model in sorted(self._stored) if model > after][:most]

    async def change(self, model, etag, now, change):
        current = await self._matching(model, etag)
        return self._write(StoredRoute(change(current.route), uuid4().hex, current.create_time, now))

    async def delete(self, model, etag):
        await self._matching(model, etag)
        del self._stored[model]
        self._changed.set()

    async def all(self):
        return [self._stored[model].route for model in sorted(self._stored)]

    async def restore(self, now, plan):
        planned = plan(await self.all())
        for route in planned.puts:
            before = self._stored.get(route.model)
            self._write(StoredRoute(route, uuid4().hex, before.create_time if before else now, now))
        for model in planned.deletes:
            await self.delete(model, "")
        return planned

    async def watch(self):
        while True:
            await self._changed.wait()
            self._changed.clear()
            yield tuple(self._stored[model].route for model in sorted(self._stored))

    async def _matching(self, model, etag):
        stored = await self.get(model)
        if etag and etag != stored.etag:
            raise Conflict("ETAG_MISMATCH", "read it again", etag=stored.etag)
        return stored

    def _write(self, stored):
        self._stored[stored.route.model] = stored
        self._changed.set()
        return stored
