"""The ledger of the whole stack is what clients counted and what Envoy completed, whichever way a call took."""

from collections import Counter
from contextlib import contextmanager

import grpc
import pytest
from tritonclient.grpc import service_pb2_grpc

from penstock.cost_tracking.v1.cost_tracking_service_pb2 import ReconcileRequest
from penstock_client import Penstock
from tests.models import infer_request
from tests.polling import eventually
from tests.serving import serve_shift

SETTLE_SECONDS = 30


@pytest.fixture
def penstock(stack):
    with Penstock(stack.address("ingress")) as client:
        serve_shift(client, "accounted", [1, 2])
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
