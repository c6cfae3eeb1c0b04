"""A policy taken apart can be put together again; a hundred of them share what they have in common."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from services.routing.domain.history import Count, Entry, Write, counted, same
from services.routing.domain.parts import content_hash, decode, delta, encode, inputs_by_key, inputs_of
from tests.contract.history_in_memory import HistoryInMemory
from tests.unit.routing.policies import inputs

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
contents = st.dictionaries(
    st.tuples(st.sampled_from(("route", "Cluster")), st.sampled_from("abc")), st.sampled_from(("1", "2", "3"))
)


@given(inputs())
def test_what_is_encoded_comes_out(given_inputs):
    parts = inputs_by_key(given_inputs)
    encoded = {key: encode(each) for key, each in parts.items()}
    assert {key: decode(key[0], body) for key, body in encoded.items()} == parts
    again = inputs_of(encoded)
    assert inputs_by_key(again) == parts
    assert len(parts) == sum(len(getattr(given_inputs, name)) for name in given_inputs.__slots__)


@given(contents, contents)
def test_a_delta_makes_one_of_the_other(before, after):
    change = delta(before, after)
    kept = {key: content for key, content in before.items() if key not in change.gone}
    assert kept | change.put == after
    assert change.keys == {key for key in {*before, *after} if before.get(key) != after.get(key)}


@given(contents, contents)
def test_what_is_counted_adds_up(before, after):
    for count in counted(before, after, delta(before, after)):
        assert count.type == "Cluster"
        old = sum(kind == "Cluster" for kind, _ in before)
        assert count.total == sum(kind == "Cluster" for kind, _ in after) == old + count.added - count.removed


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
    assert counted(before, after, delta(before, after)) == (Count("Cluster", 2, added=1, changed=1, removed=1),)
