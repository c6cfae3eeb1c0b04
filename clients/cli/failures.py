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
    "MODEL_VERSION_EXISTS": "Versions never change: register it without --version to get the next number.",
    "MODEL_EXISTS": "`penstock model register` adds a version to it.",
    "ARTIFACT_INVALID": "Check the file with onnx.checker, or export it again.",
    "DEPLOYMENT_NOT_FOUND": "`penstock deploy list` shows what is deployed.",
    "DEPLOYMENT_EXISTS": "`penstock deploy list` shows how it stands.",
    "SERVER_NOT_FOUND": "`penstock deploy servers` lists the servers.",
    "SERVER_IN_USE": "Take its deployments off first: `penstock deploy list`, `penstock deploy delete`.",
    "ROUTE_NOT_FOUND": "`penstock route create MODEL --version V` makes calls to the model possible.",
    "ROUTE_EXISTS": "`penstock route update MODEL …` changes it.",
    "POLICY_NOT_READY": "`penstock status` shows whether Envoy and routing are up.",
    "ETAG_MISMATCH": "Somebody else changed it meanwhile: look again, then try again.",
    "FEATURE_SERVICE_NOT_FOUND": "The model version names a feature service that nobody declared.",
    "SIGNATURE_MISSING": "Name the version with --version.",
    "EXPERIMENT_NOT_FOUND": "`penstock experiment list` shows the experiments.",
    "EXPERIMENT_STATE": "`penstock experiment list` shows their states.",
    "ALLOCATION_OVERLAP": "Stop the other experiment, or move this one with --first-bucket.",
    "NO_WINNER": "`penstock experiment show NAME` shows the evidence; --variant ships one in spite of it.",
    "PRICE_OVERLAP": "End the other price first: `penstock spend end-price ID --at TIME`.",
    "TARGET_NOT_FOUND": "`penstock explain health` lists the targets.",
    "STORE_UNAVAILABLE": "`penstock status` shows what is down.",
    "SERVICE_UNAVAILABLE": "`penstock status` shows what is down.",
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
    if error.code() is grpc.StatusCode.UNAVAILABLE and not reason:
        where = f" at {address}" if address else ""
        return f"Penstock does not answer{where}.", "`penstock up` starts the local stack; --address names another."
    if faults:
        listed = "\n".join(
            f"  {field}: {description}" if field else f"  {description}" for field, description in faults
        )
        return f"The request is wrong:\n{listed}", NEXT.get(reason, "")
    return f"{error.code().name}: {error.details()}", NEXT.get(reason, "")


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
