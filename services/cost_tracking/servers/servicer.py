"""CostTrackingService: prices, spend, and the intake of records."""

import asyncio
from typing import Any, Protocol
from uuid import uuid4

from libs.clock import Clock
from libs.errors import collecting
from libs.idempotency import once
from libs.paging import page
from libs.postgres import Database
from penstock.cost_tracking.v1 import cost_tracking_service_pb2 as pb
from penstock.cost_tracking.v1.cost_tracking_service_pb2_grpc import CostTrackingServiceServicer
from services.cost_tracking.domain import intake
from services.cost_tracking.domain.price import PriceStore, ended, proposed
from services.cost_tracking.domain.reconciliation import Counters, Reconciliation, TallyStore
from services.cost_tracking.domain.spend import SpendStore, within_bounds
from services.cost_tracking.servers import metrics, prices, records, spend, times


class Prices(PriceStore, intake.Prices, Protocol): ...


class Books(SpendStore, TallyStore, Protocol): ...


class CostTrackingServicer(CostTrackingServiceServicer):
    """Decodes, asks the domain and the stores, encodes."""

    def __init__(
        self,
        database: Database,
        prices: Prices,
        ledger: intake.Ledger,
        books: Books,
        envoy: Counters,
        servers: Counters,
        clock: Clock,
    ) -> None:
        self._database = database
        self._prices = prices
        self._ledger = ledger
        self._books = books
        self._envoy = envoy
        self._servers = servers
        self._clock = clock

    async def CreatePrice(self, request: pb.CreatePriceRequest, context: Any) -> pb.CreatePriceResponse:
        said = request.price
        with collecting() as faults:
            begin = times.decode(said, "effective_from", faults, "price.effective_from")
            end = times.decode(said, "effective_to", faults, "price.effective_to")
        meter = prices.METERS.get(said.meter)
        unit_price = said.nanodollars_per_unit
        now = self._clock.now()
        price = proposed(str(uuid4()), meter, said.model, said.version, unit_price, begin, end, now)

        async def perform() -> pb.CreatePriceResponse:
            await self._prices.add(price)
            return pb.CreatePriceResponse(price=prices.encode(price))

        return await once(self._database, request, pb.CreatePriceResponse, perform)

    async def ListPrices(self, request: pb.ListPricesRequest, context: Any) -> pb.ListPricesResponse:
        asked = page(request.page_size, request.page_token)
        kept, token = asked.split(await self._prices.page(asked), lambda price: (price.id,))
        return pb.ListPricesResponse(prices=[prices.encode(price) for price in kept], next_page_token=token)

    async def EndPrice(self, request: pb.EndPriceRequest, context: Any) -> pb.EndPriceResponse:
        with collecting() as faults:
            faults.require(request.id, "id", "required")
            faults.require(request.HasField("effective_to"), "effective_to", "required")
            end = times.decode(request, "effective_to", faults)

        async def perform() -> pb.EndPriceResponse:
            assert end is not None  # noqa: S101  refused above
            price = ended(await self._prices.take(request.id), end, self._clock.now())
            await self._prices.end(price)
            return pb.EndPriceResponse(price=prices.encode(price))

        return await once(self._database, request, pb.EndPriceResponse, perform)

    async def GetSpend(self, request: pb.GetSpendRequest, context: Any) -> pb.GetSpendResponse:
        return spend.encode(within_bounds(await self._books.spend(spend.decode(request))))

    async def Reconcile(self, request: pb.ReconcileRequest, context: Any) -> pb.ReconcileResponse:
        with collecting() as faults:
            since = times.decode(request, "from", faults)
        tallies, envoy, servers = await asyncio.gather(
            self._books.tallies(since), self._envoy.read(), self._servers.read()
        )
        books = Reconciliation(tuple(tallies), tuple(envoy), tuple(servers))
        return pb.ReconcileResponse(reconciliation=spend.encode_reconciliation(books))

    async def DeliverRecords(self, request: pb.DeliverRecordsRequest, context: Any) -> pb.DeliverRecordsResponse:
        batch = records.decode(request.batch)
        delivery = await intake.deliver(batch, self._ledger, self._prices)
        metrics.observe(batch, delivery, request.batch.unreadable, self._clock.now())
        return pb.DeliverRecordsResponse(committed_offset=delivery.committed)
