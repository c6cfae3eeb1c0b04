"""What Prometheus sees of the features that were served and written."""

import math
from collections.abc import Sequence

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from services.feature_store.domain.features import Feature, Status

COMPUTATION_SECONDS = Histogram(
    "ai_features_computation_time",
    "Seconds to find and compute all features of a GetOnlineFeatures call.",
    ["feature_service"],
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
MISSING_RATE = Gauge(
    "ai_features_missing_rate",
    "Share of values served online that were not PRESENT, over about the last thousand rows.",
    ["feature_service"],
)
SERVED = Counter("penstock_features_served", "Values served online, by status.", ["feature_service", "status"])
WRITTEN = Counter(
    "penstock_features_written",
    "Rows and events that were written: `row`, `event`, or `repeat` for an event whose id was seen before.",
    ["view", "kind"],
)
_HORIZON_ROWS = 1000


class Missing:
    """The share of missing values, in which a row counts less the more rows came after it."""

    def __init__(self) -> None:
        self._shares: dict[str, float] = {}

    def observe(self, feature_service: str, features: Sequence[Feature]) -> None:
        statuses = np.concatenate([feature.statuses for feature in features])
        for status in Status:
            served = int((statuses == status).sum())
            if served:
                SERVED.labels(feature_service, status.name).inc(served)
        missing = float((statuses != Status.PRESENT).mean())
        weight = -math.expm1(-len(features[0].statuses) / _HORIZON_ROWS)
        share = self._shares.get(feature_service, missing)
        self._shares[feature_service] = share + weight * (missing - share)
        MISSING_RATE.labels(feature_service).set(self._shares[feature_service])
