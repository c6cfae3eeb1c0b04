"""The ledger of the whole stack is what clients counted and what Envoy completed, whichever way a call took."""

from collections import Counter
from contextlib import contextmanager

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from tritonclient.grpc import service_pb2_grpc

from penstock.cost_tracking.v1.cost_tracking_service_pb2 import CreatePriceRequest, GetSpendRequest, ReconcileRequest
from penstock.cost_tracking.v1.price_pb2 import METER_REQUEST, Price
from penstock.cost_tracking.v1.spend_pb2 import DIMENSION_TENANT, DIMENSION_VERSION
from penstock.routing.v1.route_pb2 import Mirror
from penstock_client import Penstock
from tests.models import infer_request
from tests.polling import eventually
from tests.serving import serve_shift

SETTLE_SECONDS = 30


@pytest.fixture
def penstock(stack):
    with Penstock(stack.address("ingress")) as client:
        yield client


@contextmanager
def calling(address, compression=None):
    """Raw calls, counted by how they ended."""
    ended = Counter()
    with grpc.insecure_channel(address, options=[("grpc.enable_retries", 0)], compression=compression) as channel:
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer

        def call(times, *asked, request_id="", **changes):
            request = infer_request(*asked, **changes)
            request.id = request_id
            for _ in range(times):
                try:
                    infer(request, timeout=10)
                    ended[grpc.StatusCode.OK] += 1
                except grpc.RpcError as error:
                    ended[error.code()] += 1

        yield call, ended


def books(penstock):
    """Everything that is counted, under one name each."""
    found = penstock.costs.Reconcile(ReconcileRequest()).reconciliation
    assert not any(reading.error for reading in (*found.envoy, *found.servers)), found
    counted = Counter({reading.source: reading.value for reading in (*found.envoy, *found.servers)})
    for name in ("records", "ledger_requests", "failed_requests", "passed_requests"):
        counted[name] = getattr(found, name)
    return counted


def test_every_way_of_calling_is_charged_once(stack, penstock):
    serve_shift(penstock, "accounted", [1, 2])
    before = eventually(lambda: books(penstock), within=SETTLE_SECONDS)
    with calling(stack.address("ingress")) as (call, native):
        call(20, "accounted")
        call(5, "accounted", "2")
    with calling(stack.address("mesh")) as (call, mesh):
        call(3, "accounted")
    with calling(stack.address("ingress"), grpc.Compression.Gzip) as (call, slow):
        # long enough that gRPC finds it worth compressing: Envoy cannot read it and hands it to the slow door
        call(4, "accounted", request_id="x" * 5000)
    with calling(stack.address("ingress")) as (call, failing):
        call(2, "accounted", name="nothing-of-the-kind")
        call(6, "nobody")
    answered = sum(ended[grpc.StatusCode.OK] for ended in (native, mesh, slow))
    assert (answered, failing[grpc.StatusCode.OK]) == (32, 0)

    def settled():
        counted = books(penstock)
        counted.subtract(before)
        return counted if counted["ledger_requests"] >= answered and counted["failed_requests"] >= 8 else None

    counted = eventually(settled, within=SETTLE_SECONDS, message="every record is in the books")
    failed_at_servers = failing[grpc.StatusCode.INVALID_ARGUMENT]
    assert counted["ledger_requests"] == answered
    assert counted["envoy/ingress"] + counted["envoy/mesh"] == answered + failed_at_servers
    assert counted["failed_requests"] == sum(failing.values())
    assert counted["passed_requests"] == slow[grpc.StatusCode.OK] == 4
    assert counted["triton/a"] + counted["triton/b"] >= answered
    assert counted["records"] == answered + sum(failing.values()) + 4


def test_copies_are_charged_to_an_account_of_their_own(stack, penstock):
    serve_shift(penstock, "copied", [1, 2], mirror=Mirror(version="2", basis_points=10_000))
    since = Timestamp(seconds=1)
    price = Price(meter=METER_REQUEST, model="copied", nanodollars_per_unit="100", effective_from=since)
    penstock.costs.CreatePrice(CreatePriceRequest(price=price))
    before = eventually(lambda: books(penstock), within=SETTLE_SECONDS)
    with calling(stack.address("ingress")) as (call, native):
        call(20, "copied")
        call(3, "copied", "2")
    assert native == {grpc.StatusCode.OK: 23}

    def spent():
        asked = GetSpendRequest(model="copied", group_by=[DIMENSION_TENANT, DIMENSION_VERSION])
        return {tuple(row.group): (row.requests, row.nanodollars) for row in penstock.costs.GetSpend(asked).rows}

    paid = {("@mirror", "2"): (20, 2000), ("local", "1"): (20, 2000), ("local", "2"): (3, 300)}
    eventually(
        lambda: spent() == paid, within=SETTLE_SECONDS, message="who called pays for calls, the account for copies"
    )
    counted = books(penstock)
    counted.subtract(before)
    assert (counted["ledger_requests"], counted["envoy/ingress"], counted["envoy/mirror"]) == (43, 23, 20)
