"""Snapshots, revisions, coalescing; and following a stream that breaks."""

import grpc
from hypothesis import given
from hypothesis import strategies as st

from libs.watch import PART_BYTES, Publisher, follow, snapshot
from penstock.experimentation.v1.experiment_pb2 import Allocation
from penstock.experimentation.v1.experimentation_service_pb2 import WatchAllocationsResponse


def allocation(name, salt="s"):
    return Allocation(experiment=name, model="m", salt=salt)


@given(st.permutations(["a", "b", "c"]))
def test_equal_content_has_an_equal_revision_in_whatever_order(names):
    assert snapshot(map(allocation, names)).revision == snapshot(map(allocation, "abc")).revision
    assert snapshot(map(allocation, names)).revision != snapshot(map(allocation, "ab")).revision


def test_parts_hold_about_a_mebibyte_and_the_last_says_so():
    big = snapshot(allocation(str(i), salt="x" * (PART_BYTES // 3)) for i in range(7))
    parts = [(list(items), last) for items, last in big.parts()]
    assert [last for _, last in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) > 2
    assert [i for items, _ in parts for i in items] == list(big.items)
    assert list(snapshot([]).parts()) == [([], True)]


async def test_a_slow_reader_skips_revisions():
    publisher = Publisher()
    publisher.publish([allocation("a")])
    reader = publisher.watch("")
    first = await anext(reader)
    for name in "bcd":
        publisher.publish([allocation(name)])
    newest = await anext(reader)
    assert first.items == (allocation("a"),)
    assert newest.items == (allocation("d"),)


async def test_a_reader_that_is_current_is_told_so():
    publisher = Publisher()
    publisher.publish([allocation("a")])
    reader = publisher.watch(publisher.current.revision)
    assert await anext(reader) is None


def test_publishing_the_same_again_is_no_change():
    publisher = Publisher()
    assert publisher.publish([allocation("a"), allocation("b")])
    assert not publisher.publish([allocation("b"), allocation("a")])


async def test_following_resumes_at_the_last_complete_revision():
    asked = []

    async def stream(last_revision):
        asked.append(last_revision)
        if len(asked) == 1:
            yield WatchAllocationsResponse(revision="r1", allocations=[allocation("a")], complete=True)
            yield WatchAllocationsResponse(revision="r2", allocations=[allocation("half")])
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")
        yield WatchAllocationsResponse(revision="r2", allocations=[allocation("b")])
        yield WatchAllocationsResponse(revision="r2", allocations=[allocation("c")], complete=True)

    snapshots = follow("experimentation", stream, lambda part: part.allocations, reconnect_seconds=0)
    assert (await anext(snapshots)).items == (allocation("a"),)
    second = await anext(snapshots)
    assert second.revision == "r2"
    assert second.items == (allocation("b"), allocation("c"))
    assert asked == ["", "r1"]
