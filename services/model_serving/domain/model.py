"""Models and their immutable versions."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from libs.errors import Faults
from services.model_serving.domain import signature as signatures
from services.model_serving.domain.signature import Signature

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")
# Triton reads a version's folder name as a signed 64-bit number
VERSION = re.compile(r"[1-9][0-9]{0,17}")
DIGEST = re.compile(r"[0-9a-f]{64}")
FEATURE_SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,63}")
LONGEST_DESCRIPTION = 4096
LONGEST_OWNER = 256
MOST_CLASSES = 10_000
LONGEST_LABEL = 256
LARGEST_BATCH = 65_536


class Stage(Enum):
    """How far a version has come."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"
    ARCHIVED = "archived"


@dataclass(frozen=True)
class Model:
    """A named task that clients call."""

    name: str
    description: str
    owner: str
    etag: str
    create_time: datetime


@dataclass(frozen=True)
class ModelVersion:
    """An artefact that never changes. For an external one, an empty signature or a batch size of None is not known
    yet: both are read from the first server that has it ready."""

    model: str
    version: str
    stage: Stage
    digest: str
    """SHA-256 of its ONNX file, hex; empty: external, the servers have it in repositories of their own."""
    signature: Signature
    feature_service: str
    class_labels: tuple[str, ...]
    max_batch_size: int | None
    etag: str
    create_time: datetime

    @property
    def external(self) -> bool:
        return not self.digest

    @property
    def number(self) -> int:
        return int(self.version)


def check_model(model: Model, faults: Faults) -> None:
    rule = "1 to 127 characters of A-Z a-z 0-9 _ . -, starting with a letter or digit"
    faults.require(MODEL_NAME.fullmatch(model.name), "model.name", rule)
    too_long = f"longer than {LONGEST_DESCRIPTION} bytes"
    faults.require(len(model.description.encode()) <= LONGEST_DESCRIPTION, "model.description", too_long)
    faults.require(len(model.owner.encode()) <= LONGEST_OWNER, "model.owner", f"longer than {LONGEST_OWNER} bytes")


def check_version(version: ModelVersion, faults: Faults, *, external: bool) -> None:
    """Faults of a version in itself; whether its file fits is asked when the file is read."""
    faults.require(version.model, "model_version.model", "required")
    rule = "a positive whole number of at most 18 digits without leading zeros"
    faults.require(VERSION.fullmatch(version.version), "model_version.version", rule)
    if not version.digest:
        faults.require(external, "model_version.artifact", "one of onnx_digest and external is required")
    else:
        faults.require(DIGEST.fullmatch(version.digest), "model_version.onnx_digest", "64 hex digits, lower case")
    signatures.check(version.signature, faults)
    named = not version.feature_service or FEATURE_SERVICE.fullmatch(version.feature_service)
    faults.require(named, "model_version.feature_service", "1 to 63 characters of A-Z a-z 0-9 _ . -")
    labels = version.class_labels
    faults.require(len(labels) <= MOST_CLASSES, "model_version.class_labels", f"more than {MOST_CLASSES}")
    faults.require(len(set(labels)) == len(labels), "model_version.class_labels", "a label stands twice")
    for index, label in enumerate(labels[:MOST_CLASSES]):
        fits = 0 < len(label.encode()) <= LONGEST_LABEL
        faults.require(fits, f"model_version.class_labels[{index}]", f"1 to {LONGEST_LABEL} bytes")
    size = version.max_batch_size or 0
    faults.require(size <= LARGEST_BATCH, "model_version.max_batch_size", f"more than {LARGEST_BATCH}")
