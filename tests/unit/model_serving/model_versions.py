"""Versions and placements for tests, with what does not matter filled in."""

from datetime import UTC, datetime

from services.model_serving.domain.deployment import Placement, PlacementState, Wanted
from services.model_serving.domain.model import ModelVersion, Stage
from services.model_serving.domain.signature import Signature, TensorSpec

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FOUR = Signature((TensorSpec("X", "FP32", (4,)),), (TensorSpec("Y", "FP32", (4,)),))


def model_version(version="1", model="shift", **changes):
    kept = {
        "stage": Stage.DEVELOPMENT,
        "digest": "a" * 64,
        "signature": FOUR,
        "feature_service": "",
        "class_labels": (),
        "max_batch_size": 64,
        "etag": "1",
        "create_time": NOON,
    }
    return ModelVersion(model=model, version=version, **{**kept, **changes})


def placement(state=PlacementState.PENDING, server="a", **changes):
    return Placement(server, f"{server}:8001", state, **{"update_time": NOON, **changes})


def wanted(version="1", state=PlacementState.PENDING, model="shift", digest="a" * 64, **changes):
    return Wanted(model_version(version, model, digest=digest), placement(state, **changes))
