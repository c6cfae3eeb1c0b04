"""Features now: one question to the online store for all instances of a request."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from services.feature_store.domain.codec import RowCodec, UnreadableRow
from services.feature_store.domain.columns import Column, Ints, Rows
from services.feature_store.domain.definitions import StreamSource
from services.feature_store.domain.features import Feature, of_rows
from services.feature_store.domain.keys import Instances, instance_key
from services.feature_store.domain.plan import Plan, StoredView
from services.feature_store.domain.windows import over_windows

log = logging.getLogger(__name__)

SLACK_US = 86_400 * 1_000_000
"""Events are kept online for the view's longest window and so much more: reads may lie so far in the past."""
_ID_BYTES = 16


class OnlineRow(NamedTuple):
    key: bytes
    event_us: int
    created_us: int
    packed: bytes


class OnlineEvent(NamedTuple):
    key: bytes
    event_us: int
    packed: bytes
    """Equal bytes are the same event."""


class EventSpan(NamedTuple):
    """Of a view, the events of [since_us, until_us)."""

    view_id: int
    since_us: int
    until_us: int


class Question(NamedTuple):
    """What is wanted of one instance."""

    key: bytes
    view_ids: Sequence[int]
    spans: Sequence[EventSpan]


class Events(NamedTuple):
    newest_us: int | None
    """Of all events of the instance, in the span or not; None when it has none."""
    packed: Sequence[bytes]
    """Those in the span, oldest first."""


class Answer(NamedTuple):
    """By view."""

    rows: Mapping[int, bytes | None]
    events: Mapping[int, Events]


class OnlineStore(Protocol):
    """Keeps the newest row of each (instance, view), and the newest events. Unavailable when it cannot be reached."""

    async def put_rows(self, view_id: int, rows: Sequence[OnlineRow]) -> int:
        """Each row replaces what stands there, unless that has a greater (event time, created time).

        Returns how many of them stand there now.
        """
        ...

    async def put_events(self, view_id: int, keep_us: int, events: Sequence[OnlineEvent]) -> None:
        """Add events; an equal one is there once. Those older than an instance's newest by more than `keep_us` go."""
        ...

    async def read(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """One answer for each question, in order, in one exchange."""
        ...


def kept_us(source: StreamSource) -> int:
    """How far behind its newest event an instance's events are complete online."""
    return source.longest_us + SLACK_US


def event_packed(event_id: str, packed: bytes) -> bytes:
    """An event as the online store keeps it: two of equal content are still two."""
    return hashlib.blake2b(event_id.encode(), digest_size=_ID_BYTES).digest() + packed


@dataclass(frozen=True)
class OnlineReader:
    store: OnlineStore

    async def read(
        self, tenant: str, plan: Plan, entities: Mapping[str, Column], as_of_us: int, rows: int
    ) -> dict[tuple[str, str], Feature]:
        """Every (view, feature) that must be read for the plan, `rows` long."""
        named = {s.entity.name: Instances(s.entity.join_keys, entities) for s in plan.stored}
        questions = [
            _question(instance_key(tenant, entity, key), [s for s in plan.stored if s.entity.name == entity], as_of_us)
            for entity, instances in named.items()
            for key in instances.distinct
        ]
        answers = iter(await self.store.read(questions) if questions else [])
        answers_of = {entity: [next(answers) for _ in instances.distinct] for entity, instances in named.items()}
        moments = np.full(rows, as_of_us, np.int64)
        found: dict[tuple[str, str], Feature] = {}
        for stored in plan.stored:
            read = _windows if isinstance(stored.view.source, StreamSource) else _newest
            features = read(stored, answers_of[stored.entity.name], named[stored.entity.name].codes, moments)
            found |= {(stored.view.name, name): feature for name, feature in features.items()}
        return found


def _question(key: bytes, views: Sequence[StoredView], as_of_us: int) -> Question:
    rows = [s.view.view_id for s in views if not isinstance(s.view.source, StreamSource)]
    spans = [
        EventSpan(s.view.view_id, as_of_us - s.view.source.longest_us, as_of_us)
        for s in views
        if isinstance(s.view.source, StreamSource)
    ]
    return Question(key, rows, spans)


def _newest(stored: StoredView, answers: Sequence[Answer], codes: Ints, moments: Ints) -> dict[str, Feature]:
    rows, row_of = _readable(stored.codec, [answer.rows[stored.view.view_id] for answer in answers])
    # the code -1, nobody, takes the -1 at the end
    return of_rows(rows, stored.features, np.append(row_of, -1)[codes], moments, stored.view.ttl_us)


def _windows(stored: StoredView, answers: Sequence[Answer], codes: Ints, moments: Ints) -> dict[str, Feature]:
    source = stored.view.source
    assert isinstance(source, StreamSource)  # noqa: S101  the reader sorted the views by their source
    spans = [answer.events[stored.view.view_id] for answer in answers]
    packed = [event[_ID_BYTES:] for span in spans for event in span.packed]
    events, event_of = _readable(stored.codec, packed)
    instance_of = np.repeat(np.arange(len(spans)), np.array([len(s.packed) for s in spans], np.int64))[event_of >= 0]
    complete_from = np.array([0 if s.newest_us is None else s.newest_us - kept_us(source) for s in spans], np.int64)
    empty = np.array([span.newest_us is None for span in spans], np.bool_)
    complete_from[empty] = np.iinfo(np.int64).min
    return over_windows(
        source, stored.features, events, instance_of, codes, moments, np.append(complete_from, 0)[codes]
    )


def _readable(codec: RowCodec, packed: Sequence[bytes | None]) -> tuple[Rows, Ints]:
    """The rows, and where each of `packed` is among them: -1 for none. One that cannot be read spoils no other."""
    sound = [row is not None for row in packed]
    try:
        rows = codec.decode([row for row in packed if row is not None])
    except UnreadableRow as error:
        log.exception("rows in the online store count as not there", exc_info=error)
        sound = [row is not None and _is_readable(codec, row) for row in packed]
        rows = codec.decode([row for row, good in zip(packed, sound, strict=True) if good and row is not None])
    return rows, np.where(sound, np.cumsum(sound) - 1, -1)


def _is_readable(codec: RowCodec, row: bytes) -> bool:
    try:
        codec.decode([row])
    except UnreadableRow:
        return False
    return True
