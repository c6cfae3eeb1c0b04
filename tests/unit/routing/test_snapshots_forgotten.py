"""A snapshot that is forgotten while it is read is not told in part: what is missing would look as if it never was."""

from datetime import UTC, datetime

import pytest

from libs.clock import SystemClock
from libs.errors import NotFound
from penstock.routing.v1 import routing_service_pb2 as pb
from services.routing.domain.compiler import compile_policy
from services.routing.domain.history import KEPT, Entry
from services.routing.domain.parts import Delta, content_hash, encode
from services.routing.domain.policy import Route
from services.routing.servers.snapshots import Snapshots
from services.routing.servers.texts import Texts
from services.routing.xds.routes import table_name
from tests.contract.history_in_memory import HistoryInMemory

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
REVISION = "0123456789abcdef"


class Forgetful(HistoryInMemory):
    """Others record a hundred snapshots between two of its answers, in which the route is another."""

    def __init__(self, before):
        super().__init__()
        self._before = before

    async def record(self, version):
        body = encode(Route("flights", version))
        content = content_hash(body)
        change = Delta({("route", "flights"): content}, frozenset())
        await self.append((await self.head()).number, Entry(0, REVISION, NOON), change, {content: body})

    async def contents(self, number, types):
        return await self._answer("contents", super().contents, number, types)

    async def manifest(self, number):
        return await self._answer("manifest", super().manifest, number)

    async def bodies(self, hashes):
        return await self._answer("bodies", super().bodies, hashes)

    async def _answer(self, name, read, *args):
        if name == self._before:
            for _ in range(KEPT):
                await self.record("2")
        return await read(*args)


class Unpublished:
    newest = None


async def snapshots(before):
    history = Forgetful(before)
    await history.record("1")
    await history.record("2")
    return Snapshots(
        database=None,
        history=history,
        routes=None,
        published=Unpublished(),
        compile_policy=compile_policy,
        table_name=table_name,
        texts=Texts({}),
        deployed=lambda: None,
        clock=SystemClock(),
    )


@pytest.mark.parametrize("before", ["manifest", "bodies"])
async def test_differences(before):
    with pytest.raises(NotFound) as refused:
        await (await snapshots(before)).diff(pb.DiffSnapshotsRequest(from_revision="1", to_revision="2"))
    assert refused.value.reason == "SNAPSHOT_NOT_FOUND"


@pytest.mark.parametrize("before", ["contents", "manifest", "bodies"])
async def test_what_is_in_it(before):
    with pytest.raises(NotFound) as refused:
        await (await snapshots(before)).get(pb.GetSnapshotRequest(revision="1", with_yaml=True))
    assert refused.value.reason == "SNAPSHOT_NOT_FOUND"
