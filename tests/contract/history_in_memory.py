"""The history's store without Postgres: every snapshot whole, contents kept as long as one of the last names them."""

from dataclasses import replace
from itertools import count

from libs.errors import NotFound
from services.routing.domain.history import KEPT, Head, is_number, same


class HistoryInMemory:
    def __init__(self):
        self._entries = {}
        self._manifests = {}
        self._bodies = {}
        self._writes = {}
        self._ids = count(1)

    async def head(self):
        number = max(self._entries, default=0)
        return Head(number, dict(self._manifests.get(number, {})))

    async def append(self, base, entry, change, bodies, writes=()):
        head = await self.head()
        if head.number != base:
            return None
        number = base + 1
        kept = {key: content for key, content in head.manifest.items() if key not in change.gone}
        self._manifests[number] = kept | change.put
        self._entries[number] = replace(entry, number=number)
        self._bodies |= bodies
        for write in writes:
            self._writes.pop(write.id, None)
        self._entries.pop(number - KEPT, None)
        self._manifests.pop(number - KEPT, None)
        used = {content for manifest in self._manifests.values() for content in manifest.values()}
        self._bodies = {content: body for content, body in self._bodies.items() if content in used}
        return self._entries[number]

    async def list(self, before, most):
        numbers = sorted((n for n in self._entries if not before or n < before), reverse=True)
        return [self._entries[number] for number in numbers[:most]]

    async def find(self, named):
        for entry in await self.list(0, KEPT):
            if named == (str(entry.number) if is_number(named) else entry.revision):
                return entry
        raise NotFound("SNAPSHOT_NOT_FOUND", f"no snapshot {named}", snapshot=named)

    async def manifest(self, number):
        return dict(self._manifests.get(number, {}))

    async def contents(self, number, types):
        found = self._manifests.get(number, {})
        return {key: self._bodies[content] for key, content in found.items() if key[0] in set(types)}

    async def bodies(self, hashes):
        return {content: self._bodies[content] for content in hashes if content in self._bodies}

    async def note(self, writes):
        for write in writes:
            number = next(self._ids)
            self._writes[number] = replace(write, id=number)

    async def writes(self, routes):
        found = []
        for model, content in routes.items():
            found += same([write for write in self._writes.values() if write.model == model], content)
        return sorted(found, key=lambda write: write.id)
