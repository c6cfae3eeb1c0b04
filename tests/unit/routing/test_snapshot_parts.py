"""A policy taken apart can be put together again; a hundred of them share what they have in common."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from services.routing.domain.apart import Apart, take_apart
from services.routing.domain.history import Count, Entry, Write, counted, same
from services.routing.domain.parts import (
    content_hash,
    decode,
    delta,
    encode,
    input_groups,
    inputs_of,
    named_inputs,
    resources_of,
)
from services.routing.xds.resources import SnapshotCompiler
from tests.contract.history_in_memory import HistoryInMemory
from tests.unit.routing.policies import inputs

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
contents = st.dictionaries(
    st.tuples(st.sampled_from(("route", "Cluster")), st.sampled_from("abc")), st.sampled_from(("1", "2", "3"))
)


def recorded(parts):
    """Without what the history must never have."""
    return {key: replace(part, sha256="") if key[0] == "api_key" else part for key, part in parts.items()}


def by_key(given_inputs):
    groups = input_groups(given_inputs)
    return {(kind, name): each for kind, group in groups.items() for name, each in named_inputs(kind, group).items()}


@given(inputs())
def test_what_is_encoded_comes_out(given_inputs):
    parts = by_key(given_inputs)
    encoded = {key: encode(each) for key, each in parts.items()}
    assert {key: decode(key[0], body) for key, body in encoded.items()} == recorded(parts)
    assert by_key(inputs_of(encoded)) == recorded(parts)
    assert len(parts) == sum(len(getattr(given_inputs, name)) for name in given_inputs.__slots__)


@settings(deadline=None, max_examples=25)
@given(st.lists(inputs(), min_size=1, max_size=4))
def test_taken_apart_step_by_step_or_at_once_it_is_the_same(steps):
    compiler, known = SnapshotCompiler(), Apart({})
    for given_inputs in steps:
        snapshot = compiler.compile(given_inputs)
        before, (known, change) = known, take_apart(known, snapshot, given_inputs)
        at_once, all_new = take_apart(Apart({}), snapshot, given_inputs)
        assert known.manifest == at_once.manifest == all_new.put
        assert change == take_apart(Apart(before.manifest), snapshot, given_inputs)[1]
        assert change == delta(before.manifest, known.manifest)
        assert {content_hash(body) for body in known.bodies(change.put).values()} == set(change.put.values())
        assert {kind: n for kind, n in known.totals.items() if n} == Counter(kind for kind, _ in resources_of(snapshot))


@given(contents, contents)
def test_a_delta_makes_one_of_the_other(before, after):
    change = delta(before, after)
    kept = {key: content for key, content in before.items() if key not in change.gone}
    assert kept | change.put == after
    assert change.keys == {key for key in {*before, *after} if before.get(key) != after.get(key)}


@given(contents, contents)
def test_what_is_counted_adds_up(before, after):
    total = sum(kind == "Cluster" for kind, _ in after)
    (count,) = counted(before, delta(before, after), {"Cluster": total})
    assert count.total == total == sum(kind == "Cluster" for kind, _ in before) + count.added - count.removed


@given(st.lists(contents, max_size=130))
async def test_what_was_put_in_comes_out_and_nothing_that_is_named_is_forgotten(snapshots):
    store = HistoryInMemory()
    for snapshot in snapshots:
        head = await store.head()
        manifest = {key: content_hash(text.encode()) for key, text in snapshot.items()}
        bodies = {content_hash(text.encode()): text.encode() for text in snapshot.values()}
        await store.append(head.number, Entry(0, "a" * 16, NOON), delta(head.manifest, manifest), bodies)
    kept = await store.list(0, 1000)
    assert len(kept) == min(100, len(snapshots))
    for entry in kept:
        manifest = await store.manifest(entry.number)
        bodies = await store.bodies(manifest.values())
        assert {key: bodies[found].decode() for key, found in manifest.items()} == snapshots[entry.number - 1]


def test_of_writes_those_that_led_there_are_told():
    told = [Write("m", content, "ana", NOON, id=n) for n, content in enumerate("1213")]
    assert [write.id for write in same(told, "2")] == [0, 1]
    assert [write.id for write in same(told, "1")] == [0, 1, 2]
    assert same(told, "9") == []


def test_a_count_names_what_differs():
    before = {("Cluster", "a"): "1", ("Cluster", "b"): "1", ("route", "m"): "1"}
    after = {("Cluster", "b"): "2", ("Cluster", "c"): "1", ("route", "m"): "2"}
    assert counted(before, delta(before, after), {"Cluster": 2}) == (
        Count("Cluster", 2, added=1, changed=1, removed=1),
    )
