"""A live replay: events stream in as they happened, each flight is predicted at its scheduled departure.

A prediction for time q starts when every event before q is in the feature store, and an hour's weather is written when
every prediction before that hour has been answered.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import grpc
import numpy as np
import pandas as pd
import tritonclient.grpc as triton
from google.protobuf.timestamp_pb2 import Timestamp
from tritonclient.utils import InferenceServerException

from examples.flights import features
from examples.flights.data import Flights
from examples.flights.serving import EXPERIMENT, LABELS, MODEL
from penstock.experimentation.v1.analysis_pb2 import Outcome
from penstock.experimentation.v1.experimentation_service_pb2 import ReportOutcomesRequest
from penstock.feature_store.v1.feature_serving_service_pb2 import GetOnlineFeaturesRequest
from penstock.model_serving.v1.prediction_service_pb2 import (
    DEGRADATION_FALLBACK_MODEL,
    PredictRequest,
)
from penstock_client import Penstock, column, python_values, value

CALLERS = 12
ROUTING_KEY = "x-penstock-routing-key"


@dataclass(frozen=True)
class Served:
    """One answered prediction."""

    flight: str
    way: str
    """`Predict` or `tritonclient`."""
    unit: str
    version: str
    fallback: bool
    probability: float
    late: bool
    vector: np.ndarray
    """float32, as it was given to the model."""
    seconds: float
    request_id: str = ""

    @property
    def right(self) -> bool:
        return (self.probability > 0.5) == self.late


@dataclass
class Tally:
    """What the callers saw. Guarded by `lock`."""

    served: list[Served] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Replay:
    def __init__(self, penstock: Penstock, ingress: str, key: str, log: Path) -> None:
        self._penstock = penstock
        self._credential = {"x-penstock-api-key": key}
        self._triton = triton.InferenceServerClient(ingress)
        self._log_path = log
        self._reported: set[str] = set()
        self.tally = Tally()

    def run(self, week: Flights, progress: Callable[[int], None]) -> None:
        """Replay the week; `progress(n)` after every hour with the number of flights that were predicted in it."""
        flights = week.flights.assign(hour=week.flights["scheduled"].dt.floor("h"))
        weather = dict(iter(week.weather.groupby("observed")))
        departures = week.flights.sort_values("departed", ignore_index=True)
        departed = departures["departed"]
        pushed = 0
        with self._log_path.open("w") as log, ThreadPoolExecutor(CALLERS) as callers:
            for hour in pd.date_range(flights["hour"].min(), departed.max().ceil("h"), freq="h"):
                if hour in weather:
                    features.write_weather(self._penstock, weather[hour])
                calls: list[Future[None]] = []
                due = flights[flights["hour"] == hour]
                for scheduled, group in due.groupby("scheduled"):
                    upto = int(departed.searchsorted(scheduled, side="left"))
                    self._push(departures.iloc[pushed:upto])
                    pushed = upto
                    calls += [callers.submit(self._predict, flight, log) for flight in group.itertuples()]
                for call in calls:
                    call.result()
                left = departures.iloc[pushed : int(departed.searchsorted(hour + pd.Timedelta(hours=1), side="left"))]
                self._push(left)
                pushed += len(left)
                self._report(hour + pd.Timedelta(hours=1), departures)
                progress(len(due))

    def _push(self, events: pd.DataFrame) -> None:
        if len(events):
            features.push_departures(self._penstock, events)

    def _predict(self, flight: Any, log: TextIO) -> None:
        # the way of calling follows from the flight, so that a second run calls alike
        by_tensor = sum(flight.id.encode()) % 2
        try:
            served = self._by_tensor(flight) if by_tensor else self._by_entity(flight)
        except (grpc.RpcError, InferenceServerException) as error:
            with self.tally.lock:
                self.tally.failures.append(f"{flight.id} {'tritonclient' if by_tensor else 'Predict'}: {_text(error)}")
            return
        line = {
            "flight": served.flight,
            "way": served.way,
            "version": served.version,
            "probability": served.probability,
            "vector": [None if np.isnan(x) else float(x) for x in served.vector],
        }
        with self.tally.lock:
            self.tally.served.append(served)
            log.write(json.dumps(line) + "\n")

    def _by_entity(self, flight: Any) -> Served:
        as_of = _stamp(flight.scheduled)
        request = PredictRequest(
            model=MODEL,
            entities={key: value(getattr(flight, key)) for key in ("tailnum", "carrier", "origin")},
            features={"scheduled": value(flight.scheduled.to_pydatetime()), "distance": value(flight.distance)},
            as_of=as_of,
            include_features=True,
        )
        started = time.perf_counter()
        answer = self._penstock.predictions.Predict(request, metadata=[(ROUTING_KEY, flight.tailnum)])
        seconds = time.perf_counter() - started
        return Served(
            flight=flight.id,
            way="Predict",
            unit=flight.tailnum,
            version=answer.version,
            fallback=DEGRADATION_FALLBACK_MODEL in answer.degradations,
            probability=answer.probabilities[LABELS.index("late")],
            late=flight.late,
            vector=np.array([feature.value for feature in answer.features], np.float32),
            seconds=seconds,
            request_id=answer.request_id,
        )

    def _by_tensor(self, flight: Any) -> Served:
        vector = self._vector(flight)
        tensor = triton.InferInput("features", [1, len(vector)], "FP32")
        tensor.set_data_from_numpy(vector.reshape(1, -1))
        started = time.perf_counter()
        headers = {ROUTING_KEY: flight.tailnum, **self._credential}
        result = self._triton.infer(MODEL, [tensor], headers=headers, client_timeout=5)
        seconds = time.perf_counter() - started
        version = result.get_response().model_version
        return Served(
            flight=flight.id,
            way="tritonclient",
            unit=flight.tailnum,
            version=version,
            fallback=version == "3",
            probability=float(result.as_numpy("probabilities")[0, LABELS.index("late")]),
            late=flight.late,
            vector=vector,
            seconds=seconds,
        )

    def _vector(self, flight: Any) -> np.ndarray:
        answer = self._penstock.features.GetOnlineFeatures(
            GetOnlineFeaturesRequest(
                feature_service=features.SERVICE,
                entities=[column(key, [getattr(flight, key)]) for key in ("tailnum", "carrier", "origin")],
                request_features=[
                    column("scheduled", [flight.scheduled.to_pydatetime()]),
                    column("distance", [flight.distance]),
                ],
                as_of=_stamp(flight.scheduled),
            )
        )
        return np.array([python_values(feature.values)[0] for feature in answer.features], np.float32)

    def _report(self, before: pd.Timestamp, departures: pd.DataFrame) -> None:
        """Outcomes of the flights that were predicted and have left by now."""
        left = dict(zip(departures["id"], departures["departed"], strict=True))
        with self.tally.lock:
            served = list(self.tally.served)
        # what the fallback answered is no exposure, so it has no outcome either
        known = [s for s in served if s.flight not in self._reported and left[s.flight] < before and not s.fallback]
        for part in _runs(known, 5000):
            outcomes = [
                Outcome(
                    experiment=EXPERIMENT,
                    unit=served.unit,
                    outcome_id=served.flight,
                    positive=served.right,
                    event_time=_stamp(left[served.flight]),
                    exposure_request_id=served.request_id,
                )
                for served in part
            ]
            self._penstock.experiments.ReportOutcomes(ReportOutcomesRequest(outcomes=outcomes))
            self._reported.update(served.flight for served in part)


def _runs(items: Sequence[Served], size: int) -> Iterator[Sequence[Served]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _stamp(moment: pd.Timestamp) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(moment.value)
    return stamp


def _text(error: Exception) -> str:
    if isinstance(error, grpc.RpcError):
        return f"{error.code().name} {error.details()}"
    return str(error)
