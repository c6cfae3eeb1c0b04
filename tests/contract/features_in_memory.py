"""The feature stores without servers: what each must do, in the fewest words."""

from dataclasses import replace

import numpy as np

from libs.errors import AlreadyExists
from services.feature_store.domain.columns import Column, Rows, no_rows
from services.feature_store.domain.history import Seen
from services.feature_store.domain.online import Answer, Events


class OnlineInMemory:
    def __init__(self):
        self._rows = {}
        self._events = {}

    async def put_rows(self, view_id, rows):
        stands = 0
        for row in rows:
            event_us, created_us, _ = self._rows.get((row.key, view_id), (row.event_us, row.created_us, b""))
            if (event_us, created_us) <= (row.event_us, row.created_us):
                self._rows[row.key, view_id] = (row.event_us, row.created_us, row.packed)
                stands += 1
        return stands

    async def put_events(self, view_id, keep_us, events):
        for event in events:
            self._events.setdefault((event.key, view_id), set()).add((event.event_us, event.packed))
        for key in {(event.key, view_id) for event in events}:
            newest = max(event_us for event_us, _ in self._events[key])
            self._events[key] = {pair for pair in self._events[key] if pair[0] >= newest - keep_us}

    async def read(self, questions):
        return [self._answer(*question) for question in questions]

    def _answer(self, key, view_ids, spans):
        rows = {view_id: self._rows.get((key, view_id), (0, 0, None))[2] for view_id in view_ids}
        return Answer(rows, {span.view_id: self._in(key, span) for span in spans})

    def _in(self, key, span):
        events = sorted(self._events.get((key, span.view_id), ()))
        packed = [packed for event_us, packed in events if span.since_us <= event_us < span.until_us]
        return Events(events[-1][0] if events else None, packed)


class HistoryInMemory:
    def __init__(self):
        self._parts = {}
        self._seen = {}

    async def append_rows(self, stored, rows):
        self._parts.setdefault(stored.view.view_id, []).append(rows)

    async def append_events(self, stored, rows, ids, digests):
        seen = np.zeros(len(ids), np.int64)
        for i, (event_id, digest) in enumerate(zip(ids, digests, strict=True)):
            known = self._seen.setdefault((stored.view.view_id, event_id), (digest, i))
            new = known == (digest, i)
            seen[i] = Seen.NEW if new else Seen.REPEATED if known[0] == digest else Seen.CONFLICTING
            self._seen[stored.view.view_id, event_id] = (known[0], None)
        await self.append_rows(stored, rows.take(np.flatnonzero(seen == Seen.NEW)))
        return seen

    async def read(self, stored, names, since_us, until_us):
        wanted = {*names, *(key.name for key in stored.entity.join_keys)}
        fields = [field for field in (*stored.entity.join_keys, *stored.view.stored) if field.name in wanted]
        found = no_rows(fields)
        for part in self._parts.get(stored.view.view_id, ()):
            late = part.event_us <= until_us
            kept = part.take(np.flatnonzero(late if since_us is None else late & (part.event_us >= since_us)))
            found = _after(found, kept)
        return found


class RegistryInMemory:
    def __init__(self):
        self._kinds = {"ENTITY": {}, "FEATURE_VIEW": {}, "FEATURE_SERVICE": {}}
        self._ids = 0

    async def add_entity(self, tenant, entity):
        self._add("ENTITY", tenant, entity)

    async def add_view(self, tenant, view):
        self._ids += 1
        made = replace(view, view_id=self._ids, schema_id=self._ids if view.entity else 0)
        self._add("FEATURE_VIEW", tenant, made)
        return made

    async def add_service(self, tenant, service):
        self._add("FEATURE_SERVICE", tenant, service)

    async def entities(self, tenant, names):
        return self._named("ENTITY", tenant, names)

    async def views(self, tenant, names):
        return self._named("FEATURE_VIEW", tenant, names)

    async def service(self, tenant, name):
        return self._kinds["FEATURE_SERVICE"].get((tenant, name))

    async def list_entities(self, tenant, after, most):
        return self._page("ENTITY", tenant, after, most)

    async def list_views(self, tenant, after, most):
        return self._page("FEATURE_VIEW", tenant, after, most)

    async def list_services(self, tenant, after, most):
        return self._page("FEATURE_SERVICE", tenant, after, most)

    def _add(self, kind, tenant, definition):
        if (tenant, definition.name) in self._kinds[kind]:
            raise AlreadyExists(f"{kind}_EXISTS", f"{definition.name!r} exists")
        self._kinds[kind][tenant, definition.name] = definition

    def _named(self, kind, tenant, names):
        return {name: self._kinds[kind][tenant, name] for name in names if (tenant, name) in self._kinds[kind]}

    def _page(self, kind, tenant, after, most):
        names = sorted(name for owner, name in self._kinds[kind] if owner == tenant and name > after)
        return [self._kinds[kind][tenant, name] for name in names[:most]]


def _after(first, second):
    columns = {
        name: Column.of(column.type, [*column.objects(), *second.columns[name].objects()])
        for name, column in first.columns.items()
    }
    event_us = np.concatenate([first.event_us, second.event_us])
    return Rows(event_us, np.concatenate([first.created_us, second.created_us]), columns)
