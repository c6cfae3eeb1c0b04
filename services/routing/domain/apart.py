"""A snapshot and its inputs apart, compared with those before: what is the same object is not looked at."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from services.routing.domain.parts import (
    Delta,
    Input,
    Key,
    Manifest,
    content_hash,
    encode,
    input_groups,
    is_input,
    named_inputs,
    short,
)
from services.routing.domain.policy import Inputs
from services.routing.domain.snapshot import Resource, Snapshot

Thing: TypeAlias = Resource | Input


@dataclass(frozen=True, slots=True)
class Apart:
    """The hash of each part, and by type what the parts were made of and each by its name.

    Without the latter, as read from a store, it can be compared with all the same, at more cost.
    """

    manifest: Manifest
    sources: Mapping[str, object] = field(default_factory=dict[str, object])
    things: Mapping[str, Mapping[str, Thing]] = field(default_factory=dict[str, Mapping[str, Thing]])

    def thing(self, key: Key) -> Thing | None:
        return self.things.get(key[0], {}).get(key[1])

    def bodies(self, keys: Iterable[Key]) -> dict[str, bytes]:
        """The content of these parts by its hash."""
        return {self.manifest[kind, name]: _body(self.things[kind][name]) for kind, name in keys}

    @property
    def totals(self) -> Mapping[str, int]:
        """How many resources there are of each type."""
        return {kind: len(named) for kind, named in self.things.items() if not is_input((kind, ""))}


def take_apart(before: Apart, snapshot: Snapshot, inputs: Inputs) -> tuple[Apart, Delta]:
    """Where ten thousand routes are compared with ten thousand of which one is another, that one is encoded."""
    sources: dict[str, Any] = {short(url): named for url, named in snapshot.resources.items()}
    sources |= input_groups(inputs)
    things: dict[str, Mapping[str, Thing]] = {}
    put: dict[Key, str] = {}
    gone: set[Key] = set()
    for kind, source in sources.items():
        if kind in before.sources and before.sources[kind] is source:
            things[kind] = before.things[kind]
            continue
        things[kind] = named_inputs(kind, source) if is_input((kind, "")) else source
        put.update(_different(before, kind, things[kind]))
        gone.update((kind, name) for name in before.things.get(kind, {}).keys() - things[kind].keys())
    if not before.things:
        gone.update(key for key in before.manifest if key[1] not in things.get(key[0], {}))
    manifest = {**before.manifest, **put}
    for key in gone:
        del manifest[key]
    return Apart(manifest, sources, things), Delta(put, frozenset(gone))


def _different(before: Apart, kind: str, named: Mapping[str, Thing]) -> Iterator[tuple[Key, str]]:
    known = before.things.get(kind, {})
    for name, thing in named.items():
        old = known.get(name)
        if old is not None and (old is thing or old == thing):
            continue
        key, content = (kind, name), _hash(thing)
        if before.manifest.get(key) != content:
            yield key, content


def _hash(thing: Thing) -> str:
    return thing.version if isinstance(thing, Resource) else content_hash(encode(thing))


def _body(thing: Thing) -> bytes:
    return thing.body if isinstance(thing, Resource) else encode(thing)
