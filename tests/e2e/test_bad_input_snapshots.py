"""Snapshots that nobody has, that nobody can name, and that can be restored no more, through the ingress."""

import base64
import json

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest
from grpc_status import rpc_status

from libs.statuses import reason_of
from penstock.model_serving.v1 import model_registry_service_pb2 as reg
from penstock.model_serving.v1.model_pb2 import Model, ModelVersion, Signature, TensorSpec
from penstock.routing.v1 import routing_service_pb2 as rt
from penstock.routing.v1.route_pb2 import Route
from tests.models import answered_by, infer_request
from tests.polling import eventually

INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
MALFORMED = ("0", "-1", "latest", "ABCDEFABCDEFABCD", "a" * 17, "1" * 17, "1 OR 1=1", "\n", "%", "17\0")
UNKNOWN = ("999999999999999", "f" * 16)
MODEL = "never-deployed"


def refused(call, request):
    with pytest.raises(grpc.RpcError) as raised:
        call(request, timeout=10)
    return raised.value


def fields(error):
    return [
        violation.field
        for detail in rpc_status.from_call(error).details
        if detail.Unpack(bad := BadRequest())
        for violation in bad.field_violations
    ]


def recorded(penstock, reason):
    """The newest snapshot that tells of it, once there is one."""

    def probe():
        found = penstock.routing.ListSnapshots(rt.ListSnapshotsRequest()).snapshots
        return next((snapshot for snapshot in found if reason in snapshot.reasons), None)

    return eventually(probe, within=30, message=f"the history tells: {reason}")


@pytest.fixture(scope="session")
def lost(penstock):
    """The snapshot of a route whose version is ready on no server; the route is deleted since."""
    penstock.models.CreateModel(reg.CreateModelRequest(model=Model(name=MODEL)))
    tensor = TensorSpec(name="x", datatype="FP32", shape=[1])
    version = ModelVersion(
        model=MODEL, version="1", external=True, signature=Signature(inputs=[tensor], outputs=[tensor])
    )
    penstock.models.CreateModelVersion(reg.CreateModelVersionRequest(model_version=version))
    penstock.routing.CreateRoute(rt.CreateRouteRequest(route=Route(model=MODEL, default_version="1")))
    found = recorded(penstock, f"route {MODEL}: created, default_version 1")
    penstock.routing.DeleteRoute(rt.DeleteRouteRequest(model=MODEL))
    recorded(penstock, f"route {MODEL}: deleted")
    return found


@pytest.mark.parametrize("named", MALFORMED)
def test_a_name_that_no_snapshot_can_have(penstock, plain, named):
    for call, request, field in (
        (penstock.routing.GetSnapshot, rt.GetSnapshotRequest(revision=named), "revision"),
        (penstock.routing.RollbackSnapshot, rt.RollbackSnapshotRequest(revision=named), "revision"),
        (
            penstock.routing.DiffSnapshots,
            rt.DiffSnapshotsRequest(from_revision=named, to_revision="1"),
            "from_revision",
        ),
        (penstock.routing.DiffSnapshots, rt.DiffSnapshotsRequest(from_revision="1", to_revision=named), "to_revision"),
    ):
        error = refused(call, request)
        assert (error.code(), reason_of(error), fields(error)) == (INVALID, "INVALID_REQUEST", [field])


@pytest.mark.parametrize("named", UNKNOWN)
def test_a_snapshot_that_nobody_has(penstock, plain, named):
    for call, request in (
        (penstock.routing.GetSnapshot, rt.GetSnapshotRequest(revision=named)),
        (penstock.routing.RollbackSnapshot, rt.RollbackSnapshotRequest(revision=named)),
        (penstock.routing.DiffSnapshots, rt.DiffSnapshotsRequest(from_revision=named, to_revision=named)),
    ):
        error = refused(call, request)
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "SNAPSHOT_NOT_FOUND")


def test_names_that_are_required(penstock):
    error = refused(penstock.routing.DiffSnapshots, rt.DiffSnapshotsRequest())
    assert (error.code(), fields(error)) == (INVALID, ["from_revision", "to_revision"])
    error = refused(penstock.routing.RollbackSnapshot, rt.RollbackSnapshotRequest(models=["no/slash", "m", ""]))
    assert (error.code(), fields(error)) == (INVALID, ["revision", "models[0]", "models[2]"])


def test_a_model_that_a_snapshot_has_not(penstock, lost):
    for revision in ("", str(lost.number)):
        error = refused(penstock.routing.GetSnapshot, rt.GetSnapshotRequest(revision=revision, model="nobody"))
        assert (error.code(), reason_of(error)) == (NOT_FOUND, "ROUTE_NOT_FOUND")
    asked = rt.RollbackSnapshotRequest(revision=str(lost.number), models=["nobody"])
    error = refused(penstock.routing.RollbackSnapshot, asked)
    assert (error.code(), fields(error)) == (INVALID, ["models[0]"])


def test_page_tokens_that_no_list_gave(penstock, lost):
    method = "/penstock.routing.v1.RoutingService/ListSnapshots"
    made = base64.urlsafe_b64encode(json.dumps([method, "x' OR 1=1"]).encode()).decode()
    huge = base64.urlsafe_b64encode(json.dumps([method, "9" * 40]).encode()).decode()
    for token in ("garbage", made, huge):
        error = refused(penstock.routing.ListSnapshots, rt.ListSnapshotsRequest(page_token=token))
        assert (error.code(), reason_of(error)) == (INVALID, "INVALID_PAGE_TOKEN")


def test_a_snapshot_that_can_hold_no_more(penstock, lost, plain, infer):
    asked = rt.RollbackSnapshotRequest(revision=lost.revision, models=[MODEL], request_id="e2e-cannot-hold")
    for _ in range(2):  # what was refused is not remembered: it is refused again
        error = refused(penstock.routing.RollbackSnapshot, asked)
        assert (error.code(), reason_of(error)) == (PRECONDITION, "VERSION_NOT_READY")
        assert fields(error) == [f"routes[{MODEL}].default_version"]
    error = refused(penstock.routing.GetRoute, rt.GetRouteRequest(model=MODEL))
    assert reason_of(error) == "ROUTE_NOT_FOUND"
    assert answered_by(infer(infer_request(plain), timeout=10)) == "1"


def test_a_rollback_that_is_asked_for_twice(penstock, lost, plain):
    asked = rt.RollbackSnapshotRequest(revision=str(lost.number), models=[plain], request_id="e2e-twice")
    first = penstock.routing.RollbackSnapshot(asked)
    assert penstock.routing.RollbackSnapshot(asked) == first
    assert list(first.routes) == []
    asked.delete_newer = True
    error = refused(penstock.routing.RollbackSnapshot, asked)
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    asked.request_id = "x" * 65
    assert fields(refused(penstock.routing.RollbackSnapshot, asked)) == ["request_id"]
