"""FeatureServingService."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from libs.clock import Clock
from libs.errors import Faults, Invalid, Violation, collecting
from libs.identity import caller
from penstock.feature_store.v1 import feature_serving_service_pb2 as pb
from penstock.feature_store.v1 import value_pb2
from penstock.feature_store.v1.feature_serving_service_pb2_grpc import FeatureServingServiceServicer
from services.feature_store.domain import requests
from services.feature_store.domain.columns import Column, Ints
from services.feature_store.domain.definitions import StreamSource
from services.feature_store.domain.features import Feature
from services.feature_store.domain.history import HistoryReader, Seen, join
from services.feature_store.domain.online import OnlineReader
from services.feature_store.domain.plan import Plan, StoredView
from services.feature_store.domain.registration import Catalog
from services.feature_store.domain.writing import Writer, completed
from services.feature_store.servers import columns as wire
from services.feature_store.servers import metrics

ROWS_A_PART = 5_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class FeatureServingServicer(FeatureServingServiceServicer):
    def __init__(
        self, catalog: Catalog, writer: Writer, online: OnlineReader, history: HistoryReader, clock: Clock
    ) -> None:
        self._catalog = catalog
        self._writer = writer
        self._online = online
        self._history = history
        self._clock = clock
        self._missing = metrics.Missing()

    async def WriteFeatures(self, request: pb.WriteFeaturesRequest, context: Any) -> pb.WriteFeaturesResponse:
        stored = await self._view(request.view, streams=False)
        rows = len(request.event_time_us)
        with collecting() as faults:
            columns, event_us = self._decode(stored, request, faults)
            created_us = np.array(request.created_time_us or [self._now_us()] * rows, np.int64)
            requests.check_times(created_us, rows, "created_time_us", faults)
        written = completed(stored, columns, event_us, created_us)
        online = await self._writer.write(caller().tenant, stored, written)
        metrics.WRITTEN.labels(request.view, "row").inc(rows)
        return pb.WriteFeaturesResponse(rows_written=rows, rows_online=online)

    async def PushEvents(self, request: pb.PushEventsRequest, context: Any) -> pb.PushEventsResponse:
        stored = await self._view(request.view, streams=True)
        with collecting() as faults:
            columns, event_us = self._decode(stored, request, faults)
            requests.check_event_ids(request.event_ids, len(event_us), faults)
        created_us = np.full(len(event_us), self._now_us(), np.int64)
        pushed = completed(stored, columns, event_us, created_us)
        seen = await self._writer.push(caller().tenant, stored, pushed, request.event_ids)
        new = int((seen == Seen.NEW).sum())
        metrics.WRITTEN.labels(request.view, "event").inc(new)
        metrics.WRITTEN.labels(request.view, "repeat").inc(len(seen) - new)
        return pb.PushEventsResponse(events_written=new, events_repeated=len(seen) - new)

    async def GetOnlineFeatures(
        self, request: pb.GetOnlineFeaturesRequest, context: Any
    ) -> pb.GetOnlineFeaturesResponse:
        started = time.perf_counter()
        plan = await self._plan(request.feature_service)
        rows = _rows(request.entities or request.request_features)
        with collecting() as faults:
            entities, sent = _decode_read(request, plan, rows, requests.MOST_ONLINE, faults)
            as_of_us = _micros(request.as_of) if request.HasField("as_of") else self._now_us()
            requests.check_times(np.array([as_of_us]), 1, "as_of", faults)
        read = await self._online.read(caller().tenant, plan, entities, as_of_us, rows)
        features = plan.assemble(read, sent)
        self._missing.observe(request.feature_service, features)
        metrics.COMPUTATION_SECONDS.labels(request.feature_service).observe(time.perf_counter() - started)
        as_of = Timestamp()
        as_of.FromMicroseconds(as_of_us)
        return pb.GetOnlineFeaturesResponse(features=wire.encode(features, plan.outputs), as_of=as_of)

    async def GetHistoricalFeatures(
        self, request: pb.GetHistoricalFeaturesRequest, context: Any
    ) -> AsyncIterator[pb.GetHistoricalFeaturesResponse]:
        plan = await self._plan(request.feature_service)
        as_of_us = np.array(request.event_time_us, np.int64)
        with collecting() as faults:
            requests.check_times(as_of_us, len(as_of_us), "event_time_us", faults)
            entities, sent = _decode_read(request, plan, len(as_of_us), requests.MOST_HISTORICAL, faults)
        history = await self._history.rows(plan, as_of_us)

        def joined() -> list[Feature]:
            return plan.assemble(join(plan, history, entities, as_of_us), sent)

        # numpy, for seconds: not in the way of those who read online
        features = await asyncio.to_thread(joined)
        for first in range(0, len(as_of_us), ROWS_A_PART):
            part = [feature.slice(first, first + ROWS_A_PART) for feature in features]
            yield pb.GetHistoricalFeaturesResponse(first_row=first, features=wire.encode(part, plan.outputs))

    async def _view(self, name: str, *, streams: bool) -> StoredView:
        if not name:
            raise Invalid([Violation("view", "is missing")])
        found = await self._catalog.view(caller().tenant, name)
        if not isinstance(found, StoredView):
            raise Invalid([Violation("view", f"{name!r} is computed on demand: nothing is written to it")])
        if streams and not isinstance(found.view.source, StreamSource):
            raise Invalid([Violation("view", f"{name!r} is a batch view: WriteFeatures writes its rows")])
        if not streams and isinstance(found.view.source, StreamSource):
            raise Invalid([Violation("view", f"{name!r} is a stream view: PushEvents takes its events")])
        return found

    async def _plan(self, name: str) -> Plan:
        if not name:
            raise Invalid([Violation("feature_service", "is missing")])
        return await self._catalog.plan(caller().tenant, name)

    def _decode(
        self, stored: StoredView, request: pb.WriteFeaturesRequest | pb.PushEventsRequest, faults: Faults
    ) -> tuple[dict[str, Column], Ints]:
        event_us = np.array(request.event_time_us, np.int64)
        columns = wire.decode(request.columns, "columns", faults)
        requests.check_written(stored, len(event_us), columns, faults)
        requests.check_times(event_us, len(event_us), "event_time_us", faults, self._now_us())
        return columns, event_us

    def _now_us(self) -> int:
        return (self._clock.now() - _EPOCH) // timedelta(microseconds=1)


def _decode_read(
    request: pb.GetOnlineFeaturesRequest | pb.GetHistoricalFeaturesRequest,
    plan: Plan,
    rows: int,
    most: int,
    faults: Faults,
) -> tuple[Mapping[str, Column], Mapping[str, Column]]:
    entities = wire.decode(request.entities, "entities", faults)
    sent = wire.decode(request.request_features, "request_features", faults)
    requests.check_read(plan, rows, most, entities, sent, faults)
    return entities, sent


def _rows(columns: Sequence[value_pb2.Column]) -> int:
    return wire.length(columns[0]) if columns else 0


def _micros(moment: Timestamp) -> int:
    return moment.seconds * 1_000_000 + moment.nanos // 1000
