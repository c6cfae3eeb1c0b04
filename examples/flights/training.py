"""Point-in-time training sets, three versions of one model, as ONNX."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from examples.flights import features
from penstock.feature_store.v1.feature_serving_service_pb2 import GetHistoricalFeaturesRequest
from penstock_client import Penstock, python_values

OPSET = 17
ROWS_A_CALL = 20_000
VERSIONS = {
    "1": ("logistic regression", lambda: LogisticRegression(max_iter=200)),
    "2": ("gradient boosting", lambda: HistGradientBoostingClassifier(max_iter=80, random_state=0)),
    "3": ("small tree, the last resort", lambda: DecisionTreeClassifier(max_depth=4, random_state=0)),
}


@dataclass(frozen=True)
class Trained:
    version: str
    what: str
    onnx: bytes
    auc: float
    """On the last tenth of the training time, which was held back."""


def point_in_time(penstock: Penstock, flights: pd.DataFrame) -> np.ndarray:
    """float32 [rows, features]: each flight as it was known at its scheduled time; NaN where it was not."""
    parts: list[np.ndarray] = []
    for start in range(0, len(flights), ROWS_A_CALL):
        rows = flights.iloc[start : start + ROWS_A_CALL]
        request = GetHistoricalFeaturesRequest(
            feature_service=features.SERVICE,
            entities=features.key_columns(rows),
            request_features=features.request_columns(rows),
            event_time_us=features.micros(rows["scheduled"]),
        )
        for part in penstock.features.GetHistoricalFeatures(request, timeout=features.DEADLINE_SECONDS):
            columns = [python_values(feature.values) for feature in part.features]
            parts.append(np.array(columns, dtype=np.float32).T)
    return np.concatenate(parts)


def train(vectors: np.ndarray, late: np.ndarray) -> list[Trained]:
    """`vectors` in time order."""
    held_back = len(late) // 10
    found: list[Trained] = []
    for version, (what, make) in VERSIONS.items():
        steps = [] if version == "2" else [SimpleImputer(), StandardScaler()]
        model = make_pipeline(*steps, make())
        model.fit(vectors[:-held_back], late[:-held_back])
        auc = roc_auc_score(late[-held_back:], model.predict_proba(vectors[-held_back:])[:, 1])
        shape = [("features", FloatTensorType([None, vectors.shape[1]]))]
        exported = to_onnx(model, initial_types=shape, target_opset=OPSET, options={"zipmap": False})
        found.append(Trained(version, what, exported.SerializeToString(), float(auc)))
    return found
