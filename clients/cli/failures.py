"""Errors in plain words: what is wrong, and what to do next."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import grpc
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

from deploy.local import FAULTS

FAILED = 1

NEXT = {
    "MODEL_NOT_FOUND": "`penstock model list` shows the models; `penstock model register NAME FILE` adds one.",
    "MODEL_VERSION_NOT_FOUND": "`penstock model show NAME` lists the versions.",
    "MODEL_VERSION_EXISTS": "Register it without --version to get the next number.",
    "MODEL_EXISTS": "`penstock model register` adds a version to it.",
    "ARTIFACT_INVALID": "Check the file with onnx.checker, or export it again.",
    "ARTIFACT_NOT_FOUND": "The uploaded file is gone from the store: register it again.",
    "DEPLOYMENT_NOT_FOUND": "`penstock deploy list` shows what is deployed; `penstock deploy create` deploys.",
    "DEPLOYMENT_EXISTS": "`penstock deploy list` shows how it stands; to move it, `penstock deploy delete` it first.",
    "DEPLOYMENT_IN_USE": "`penstock route update` or `penstock experiment stop` first; --force does without.",
    "VERSION_NOT_READY": "`penstock deploy create MODEL VERSION` deploys one; `penstock deploy list` shows them.",
    "SERVER_NOT_FOUND": "`penstock deploy servers` lists the servers.",
    "SERVER_EXISTS": "Choose another name, or take that one away first: `penstock deploy remove-server NAME`.",
    "SERVER_IN_USE": "Take its deployments off first: `penstock deploy list`, `penstock deploy delete MODEL VERSION`.",
    "SERVER_FAILED": "The words are the server's own; `penstock explain health` shows how it stands.",
    "SIGNATURE_MISSING": "`penstock model show NAME` lists each version's inputs and outputs; --version names one.",
    "FEATURE_MISSING": "Name a value with -f, or write one to the feature store.",
    "ENTITY_NOT_FOUND": "Declare it in the feature store (FeatureRegistryService) first.",
    "FEATURE_NOT_FOUND": "Declare it in the feature store (FeatureRegistryService) first.",
    "FEATURE_VIEW_NOT_FOUND": "Declare it in the feature store (FeatureRegistryService) first.",
    "FEATURE_SERVICE_NOT_FOUND": "Declare it in the feature store (FeatureRegistryService) first.",
    "ROUTE_NOT_FOUND": "`penstock route list` shows the routes; `penstock route create MODEL --version V` adds one.",
    "ROUTE_EXISTS": "`penstock route update MODEL …` changes it.",
    "NO_HEALTHY_ENDPOINTS": "`penstock explain health` says of every server why; a call through Envoy is still tried.",
    "BUDGET_SPENT": "`penstock spend` shows what was spent.",
    "POLICY_NOT_READY": "`penstock status` shows whether Envoy and routing are up.",
    "PROXY_NOT_FOUND": "`penstock proxies` lists the Envoys.",
    "SNAPSHOT_NOT_FOUND": "`penstock snapshot list` shows the last 100, by number and revision.",
    "API_KEY_NOT_FOUND": "`penstock key list` shows the keys by id.",
    "LAST_ADMIN_KEY": "Make another first: `penstock key create TENANT PRINCIPAL --role admin`.",
    "RATE_LIMIT_NOT_FOUND": "`penstock limit list` shows the limits by name.",
    "RATE_LIMIT_EXISTS": "`penstock limit update NAME …` changes it.",
    "RATE_LIMITS_FULL": "`penstock limit delete NAME …` makes room; `penstock limit list` shows all.",
    "ETAG_MISMATCH": "Somebody else changed it meanwhile: look again, then try again.",
    "EXPERIMENT_NOT_FOUND": "`penstock experiment list` shows the experiments.",
    "EXPERIMENT_EXISTS": "A name is never used twice: choose another; `penstock experiment list` shows those taken.",
    "EXPERIMENT_STATE": "`penstock experiment list` shows their states.",
    "ALLOCATION_OVERLAP": "Stop the other experiment, or move this one with --first-bucket.",
    "NO_WINNER": "`penstock experiment show NAME` shows the evidence; --variant ships one in spite of it.",
    "PRICE_OVERLAP": "End the other price first: `penstock spend end-price ID --at TIME`.",
    "PRICE_NOT_FOUND": "`penstock spend prices` lists the prices by id.",
    "TARGET_NOT_FOUND": "`penstock explain health` lists the targets.",
    "STORE_UNAVAILABLE": "`penstock status` shows what is down.",
    "STORE_CONFLICT": "Somebody else changed the same thing at that moment: try again.",
    "STORE_TIMEOUT": "The database took too long: `penstock status` shows whether it is well; then try again.",
    "SERVICE_UNAVAILABLE": "`penstock status` shows what is down.",
    "API_KEY_REQUIRED": "Name one: --api-key, or PENSTOCK_API_KEY; a stack has its first in data/routing/admin.key.",
    "API_KEY_UNKNOWN": "Name one that is good: --api-key, or PENSTOCK_API_KEY; `penstock key create` makes one.",
    "RATE_LIMITED": "Call again later; `penstock limit list` shows the limits to an admin.",
    "MODEL_BUSY": "Call again later, or let more calls in: `penstock route update MODEL --max-calls N`.",
    "ROLE_REQUIRED": "Use a key that has one of these roles, or ask an administrator; `docs/roles.md` has them all.",
    "INVALID_PAGE_TOKEN": "The list changed hands while it was read: ask again.",
    "INTERNAL": "A fault of Penstock's own: `penstock logs PART` of the service that answered has its traceback.",
}
# for answers that no Penstock service gave: Envoy's, a Triton's, or none
UNREASONED = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "It took too long: `penstock status` shows what is down.",
    grpc.StatusCode.UNAUTHENTICATED: "Name a key that is good: --api-key, or PENSTOCK_API_KEY.",
    grpc.StatusCode.UNIMPLEMENTED: "Is that the ingress? `penstock up` names it; --address must be its host:port.",
}


@contextmanager
def told(address: Callable[[], str] = str) -> Generator[None]:
    """Run a command; a failure becomes a message on stderr and exit status 1. `address` says who was asked."""
    try:
        yield
    except grpc.RpcError as error:
        fail(*words(error, address()))
    except FAULTS as error:
        fail(str(error), "")


def words(error: Any, address: str = "") -> tuple[str, str]:
    """What is wrong, and what to do next (may be empty)."""
    reason, faults = _details(error)
    where = f" at {address}" if address else ""
    if error.code() is grpc.StatusCode.UNAVAILABLE and not reason:
        if "upstream" in (error.details() or ""):
            return f"Envoy answers{where}, the service behind it does not.", NEXT["SERVICE_UNAVAILABLE"]
        return f"Penstock does not answer{where}.", "`penstock up` starts the local stack; --address names another."
    if faults:
        listed = "\n".join(
            f"  {field}: {description}" if field else f"  {description}" for field, description in faults
        )
        wrong = error.code() is grpc.StatusCode.INVALID_ARGUMENT
        return f"{'The request is wrong' if wrong else 'Not as things stand'}:\n{listed}", NEXT.get(reason, "")
    then = NEXT.get(reason, "") if reason else UNREASONED.get(error.code(), "")
    return f"{error.code().name}: {error.details()}", then


def fail(what: str, then: str) -> None:
    sys.stderr.write(f"{what}\n" + (f"{then}\n" if then else ""))
    raise SystemExit(FAILED)


def _details(error: Any) -> tuple[str, list[tuple[str, str]]]:
    try:
        status = rpc_status.from_call(error)
    except ValueError:
        # details that contradict the status line come from no Penstock service
        status = None
    reason, faults = "", []
    for detail in status.details if status else ():
        info, bad = ErrorInfo(), BadRequest()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            faults = [(violation.field, violation.description) for violation in bad.field_violations]
    return reason, faults
