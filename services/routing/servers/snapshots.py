"""The calls of RoutingService about snapshots: what is in one, what came before it, and the way back."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from libs.clock import Clock
from libs.errors import Invalid, NotFound, Unavailable, Violation, collecting
from libs.idempotency import once
from libs.identity import caller
from libs.paging import Page, page
from libs.postgres import Database
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1 import snapshot_pb2
from services.routing.domain.compiled import Policy
from services.routing.domain.history import Entry, HistoryStore, Write, check_named
from services.routing.domain.known import Deployed
from services.routing.domain.parts import (
    NAMES,
    ROUTE,
    Key,
    Manifest,
    bodies_of,
    content_hash,
    delta,
    encode,
    inputs_of,
    is_input,
    resources_of,
)
from services.routing.domain.policy import Inputs, Route
from services.routing.domain.rollback import Plan, Restorable, check_models, plan, require_ready
from services.routing.domain.routes import check_model
from services.routing.domain.snapshot import Snapshot
from services.routing.servers import snapshot_messages as messages
from services.routing.servers.texts import Texts, cut


class Newest(Protocol):
    @property
    def newest(self) -> tuple[Entry, Snapshot] | None:
        """What was published last, and what the history says of it; None before the first."""
        ...


@dataclass(frozen=True, slots=True)
class _Content:
    """Of a snapshot: its policy (for a page of models), one model more where there are more, and its resources."""

    entry: Entry
    policy: Policy
    manifest: Manifest
    snapshot: Snapshot | None
    """Where it is in memory."""


class Snapshots:
    """`compile_policy` reads recorded inputs, `table_name` names a model's table, `deployed` is what is known now."""

    def __init__(
        self,
        *,
        database: Database,
        history: HistoryStore,
        routes: Restorable,
        published: Newest,
        compile_policy: Callable[[Inputs], Policy],
        table_name: Callable[[str], str],
        texts: Texts,
        deployed: Callable[[], Deployed | None],
        clock: Clock,
    ) -> None:
        self._database = database
        self._history = history
        self._routes = routes
        self._published = published
        self._compile = compile_policy
        self._table_name = table_name
        self._texts = texts
        self._deployed = deployed
        self._clock = clock

    async def list(self, request: pb.ListSnapshotsRequest) -> pb.ListSnapshotsResponse:
        asked = page(request.page_size, request.page_token)
        found = await self._history.list(_number(asked), asked.lookahead)
        kept, token = asked.split(found, lambda entry: (str(entry.number),))
        return pb.ListSnapshotsResponse(
            snapshots=[messages.encode_entry(entry) for entry in kept], next_page_token=token
        )

    async def get(self, request: pb.GetSnapshotRequest) -> pb.GetSnapshotResponse:
        with collecting() as faults:
            if request.revision:
                check_named(request.revision, "revision", faults)
            if request.model:
                check_model(request.model, "model", faults)
        asked = page(request.page_size, request.page_token)
        content = await self._content(request.revision, request.model, asked)
        names = [request.model] if request.model else sorted(content.policy.models)
        if request.model and request.model not in content.policy.models:
            message = (
                f"snapshot {content.entry.number or content.entry.revision} has no table of model {request.model!r}"
            )
            raise NotFound("ROUTE_NOT_FOUND", message, model=request.model)
        after = "".join(asked.after)
        kept, token = asked.split([name for name in names if name > after][: asked.lookahead], lambda name: (name,))
        return await self._told(content, kept, token, with_yaml=request.with_yaml)

    async def diff(self, request: pb.DiffSnapshotsRequest) -> pb.DiffSnapshotsResponse:
        with collecting() as faults:
            check_named(request.from_revision, "from_revision", faults)
            check_named(request.to_revision, "to_revision", faults)
        asked = page(request.page_size, request.page_token, keys=2)
        before, after = await self._history.find(request.from_revision), await self._history.find(request.to_revision)
        old, new = await self._history.manifest(before.number), await self._history.manifest(after.number)
        order = sorted(delta(old, new).keys, key=_inputs_first)
        last = _inputs_first((asked.after[0], asked.after[1])) if asked.after else None
        keys = [key for key in order if last is None or _inputs_first(key) > last]
        kept, token = asked.split(keys[: asked.lookahead], lambda key: key)
        bodies = await self._history.bodies({m[key] for m in (old, new) for key in kept if key in m})
        await self._still_there(before, after)
        return pb.DiffSnapshotsResponse(
            from_snapshot=messages.encode_entry(before),
            to_snapshot=messages.encode_entry(after),
            differences=await asyncio.to_thread(self._differences, kept, old, new, bodies),
            next_page_token=token,
        )

    async def rollback(self, request: pb.RollbackSnapshotRequest) -> pb.RollbackSnapshotResponse:
        with collecting() as faults:
            check_named(request.revision, "revision", faults)
            check_models(request.models, faults)

        async def perform() -> pb.RollbackSnapshotResponse:
            entry = await self._history.find(request.revision)
            parts = await self._history.contents(entry.number, [ROUTE])
            await self._still_there(entry)
            then = await asyncio.to_thread(lambda: inputs_of(parts).routes)

            def planned(now: Sequence[Route]) -> Plan:
                made = plan(then, now, request.models, delete_newer=request.delete_newer)
                require_ready(made, entry, self._deployed())
                return made

            if request.validate_only:
                done = planned(await self._routes.all())
            else:
                done = await self._routes.restore(self._clock.now(), planned)
                why = f"rollback to snapshot {entry.number} (revision {entry.revision})"
                await self.wrote({model: after for model, (_, after) in done.changes().items()}, why)
            return pb.RollbackSnapshotResponse(
                restored=messages.encode_entry(entry),
                routes=messages.encode_restored(done.changes()),
                kept_models=done.kept,
            )

        return await once(self._database, request, pb.RollbackSnapshotResponse, perform)

    async def wrote(self, routes: Mapping[str, Route | None], why: str = "") -> None:
        """Put into the history who wrote these routes, by model; None: deleted. In the transaction that writes them."""
        who, now = caller().principal, self._clock.now()
        contents = {model: content_hash(encode(route)) if route else "" for model, route in routes.items()}
        await self._history.note([Write(model, content, who, now, why) for model, content in contents.items()])

    async def _content(self, named: str, model: str, asked: Page) -> _Content:
        published = self._published.newest
        if published is not None and named in ("", str(published[0].number or ""), published[0].revision):
            entry, snapshot = published
            return _Content(entry, snapshot.policy, resources_of(snapshot), snapshot)
        if not named:
            raise Unavailable("POLICY_NOT_READY", "no policy has been compiled yet", retry_after_seconds=1)
        entry = await self._history.find(named)
        parts, manifest = await self._history.contents(entry.number, NAMES), await self._history.manifest(entry.number)
        await self._still_there(entry)
        models = [model] if model else _page_of(parts, asked)
        policy = await asyncio.to_thread(lambda: self._compile(_only(parts, models)))
        return _Content(entry, policy, manifest, None)

    async def _still_there(self, *read: Entry) -> None:
        """Raises NotFound for one that was forgotten while it was read: parts of it may be missing."""
        for entry in read:
            await self._history.find(str(entry.number))

    async def _told(
        self, content: _Content, models: Sequence[str], token: str, *, with_yaml: bool
    ) -> pb.GetSnapshotResponse:
        policy = content.policy
        composites = sorted({name for model in models for name in policy.models[model].composites})
        tried = {name for composite in composites for name in policy.composites[composite]}
        sets = sorted(tried | {name for model in models for name in policy.models[model].clusters} - set(composites))
        names = {*composites, *sets, *map(self._table_name, models)}
        keys = sorted(key for key in content.manifest if key[1] in names and not is_input(key))
        return pb.GetSnapshotResponse(
            snapshot=messages.encode_entry(content.entry),
            models=[messages.encode_table(policy.models[model]) for model in models],
            composites=messages.encode_composites(policy, composites),
            server_sets=[messages.encode_set(policy.server_sets[name]) for name in sets],
            resources=await self._resources(content, keys, with_yaml=with_yaml),
            next_page_token=token,
        )

    async def _resources(
        self, content: _Content, keys: Sequence[Key], *, with_yaml: bool
    ) -> Sequence[snapshot_pb2.Resource]:
        bodies: Mapping[str, bytes] = {}
        if with_yaml and content.snapshot is not None:
            bodies = bodies_of(content.snapshot, keys)
        elif with_yaml:
            bodies = await self._history.bodies(content.manifest[key] for key in keys)
            await self._still_there(content.entry)

        def encode_all() -> Sequence[snapshot_pb2.Resource]:
            return [
                snapshot_pb2.Resource(
                    type=kind,
                    name=name,
                    version=content.manifest[kind, name],
                    yaml=self._texts.yaml(kind, bodies[content.manifest[kind, name]]) if with_yaml else "",
                )
                for kind, name in keys
            ]

        return await asyncio.to_thread(encode_all)

    def _differences(
        self, keys: Sequence[Key], old: Manifest, new: Manifest, bodies: Mapping[str, bytes]
    ) -> Sequence[snapshot_pb2.Difference]:
        def text(key: Key, manifest: Manifest) -> str:
            return cut(self._texts.yaml(key[0], bodies[manifest[key]])) if key in manifest else ""

        return [
            snapshot_pb2.Difference(
                type=key[0],
                name=key[1],
                change=messages.change(old.get(key), new.get(key)),
                before=text(key, old),
                after=text(key, new),
            )
            for key in keys
        ]


def _number(asked: Page) -> int:
    after = "".join(asked.after)
    if after and not (after.isdecimal() and after.isascii() and len(after) < 16):
        raise Invalid([Violation("page_token", "not a token that this list returned")], reason="INVALID_PAGE_TOKEN")
    return int(after or 0)


def _inputs_first(key: Key) -> tuple[bool, Key]:
    return not is_input(key), key


def _page_of(parts: Iterable[Key], asked: Page) -> Sequence[str]:
    after = "".join(asked.after)
    return sorted(name for kind, name in parts if kind == ROUTE and name > after)[: asked.lookahead]


def _only(parts: Mapping[Key, bytes], models: Iterable[str]) -> Inputs:
    """The inputs of these models' tables: a page of ten thousand is not worth compiling all."""
    wanted = set(models)
    facts = {key: body for key, body in parts.items() if key[0] != ROUTE or key[1] in wanted}
    inputs = inputs_of(facts)
    return replace(inputs, allocations=tuple(a for a in inputs.allocations if a.model in wanted))
