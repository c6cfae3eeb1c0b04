"""PredictionService."""

from collections.abc import Mapping
from typing import Any, cast

import grpc
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from prometheus_client import Histogram

from libs.clock import Clock
from libs.errors import Faults, Invalid, NotFound, PenstockError, Unavailable, Violation, collecting
from libs.identity import caller
from libs.statuses import DOMAIN
from penstock.feature_store.v1 import value_pb2
from penstock.model_serving.v1 import prediction_service_pb2 as pb
from penstock.model_serving.v1.prediction_service_pb2_grpc import (
    PredictionServiceServicer,
    add_PredictionServiceServicer_to_server,
)
from services.model_serving.domain.features import Feature
from services.model_serving.domain.prediction import Prediction, Predictor, Question
from services.model_serving.servers import json_answer, json_question, messages

ROUTING_KEY = "x-penstock-routing-key"
ANSWERED_BY = "x-penstock-model-version"
DEGRADATIONS: Mapping[str, pb.Degradation.ValueType] = {
    "fallback-model": pb.DEGRADATION_FALLBACK_MODEL,
    "partial-features": pb.DEGRADATION_PARTIAL_FEATURES,
}
STAGE_SECONDS = Histogram(
    "ai_pipeline_stage_latency",
    "Time of one stage of a prediction, seconds.",
    ["stage"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


SERVICE = pb.DESCRIPTOR.services_by_name["PredictionService"].full_name


class Predictions(PredictionServiceServicer):
    def __init__(self, predictor: Predictor, clock: Clock) -> None:
        self._predictor = predictor
        self._clock = clock

    def add_to(self, server: grpc.aio.Server) -> None:
        add_PredictionServiceServicer_to_server(self, server)

    async def Predict(self, request: pb.PredictRequest, context: Any) -> pb.PredictResponse:
        with collecting() as faults:
            faults.require(request.model, "model", "required")
            question = Question(
                model=request.model,
                version=request.version,
                entities=messages.scalars("entities", request.entities, faults),
                features=messages.scalars("features", request.features, faults),
                as_of=messages.instant(request.as_of, "as_of", faults) if request.HasField("as_of") else None,
                routing_keys=_routing_keys(context, faults),
                deadline=self._deadline(context),
            )
        return await self._predict(question, context, include_features=request.include_features)

    async def PredictJson(self, request: pb.PredictJsonRequest, context: Any) -> pb.PredictJsonResponse:
        asked = json_question.read(request.document.content_type, request.document.data)
        with collecting() as faults:
            question = Question(
                model=asked.model,
                version=asked.version,
                entities=asked.entities,
                features=asked.features,
                as_of=asked.as_of,
                routing_keys=_routing_keys(context, faults),
                deadline=self._deadline(context),
            )
        return json_answer.write(await self._predict(question, context, include_features=asked.include_features))

    async def _predict(self, question: Question, context: Any, *, include_features: bool) -> pb.PredictResponse:
        started = self._clock.monotonic()
        try:
            prediction = await self._predictor.predict(question)
        except grpc.aio.AioRpcError as error:
            known = _ours(error, question)
            if known is not None:
                raise known from error
            await context.abort_with_status(rpc_status.to_status(cast(Any, _kept(error))))
            raise
        for stage, seconds in prediction.stages:
            STAGE_SECONDS.labels(stage).observe(seconds)
        answer = _response(prediction, include_features=include_features)
        answer.latency.CopyFrom(_duration(self._clock.monotonic() - started))
        return answer

    def _deadline(self, context: Any) -> float | None:
        remaining: float | None = context.time_remaining()
        return None if remaining is None else self._clock.monotonic() + remaining


def _routing_keys(context: Any, faults: Faults) -> tuple[str, ...]:
    keys = tuple(str(value) for key, value in context.invocation_metadata() or () if key == ROUTING_KEY)
    faults.require(all(key.isascii() for key in keys), ROUTING_KEY, "only ASCII can be passed on from here")
    return keys


def _response(prediction: Prediction, *, include_features: bool) -> pb.PredictResponse:
    inference = prediction.inference
    response = pb.PredictResponse(
        probabilities=prediction.answer.probabilities,
        class_labels=prediction.class_labels,
        model=inference.model,
        version=inference.version,
        experiment=inference.experiment,
        variant=inference.variant,
        degradations=_degradations(prediction),
        features=[_feature(feature, include_value=include_features) for feature in prediction.features],
        stages=[pb.StageLatency(stage=name, duration=_duration(seconds)) for name, seconds in prediction.stages],
        request_id=caller().request_id,
    )
    answer = prediction.answer
    if answer.label is not None:
        response.label = answer.label
    elif answer.class_index is not None:
        response.class_index = answer.class_index
    elif answer.value is not None:
        response.value = answer.value
    return response


def _degradations(prediction: Prediction) -> list[pb.Degradation.ValueType]:
    said = [DEGRADATIONS[name] for name in prediction.inference.degraded if name in DEGRADATIONS]
    if prediction.partial and pb.DEGRADATION_PARTIAL_FEATURES not in said:
        said.append(pb.DEGRADATION_PARTIAL_FEATURES)
    return said


def _feature(feature: Feature, *, include_value: bool) -> pb.ServedFeature:
    served = pb.ServedFeature(
        name=feature.name, status=value_pb2.FeatureStatus.Value(f"FEATURE_STATUS_{feature.status.value}")
    )
    if feature.event_time_us:
        served.event_time.FromMicroseconds(feature.event_time_us)
    if include_value:
        served.value = feature.number
    return served


def _duration(seconds: float) -> Duration:
    duration = Duration()
    duration.FromMicroseconds(round(seconds * 1_000_000))
    return duration


def _ours(error: grpc.aio.AioRpcError, question: Question) -> PenstockError | None:
    """What Envoy itself refused, in the words of this contract; None when a server was asked."""
    said = {str(key) for metadata in (error.initial_metadata(), error.trailing_metadata()) for key in metadata or ()}
    if ANSWERED_BY in said:
        return None
    text = error.details() or error.code().name
    if error.code() is grpc.StatusCode.NOT_FOUND:
        reason = "MODEL_VERSION_NOT_FOUND" if question.version else "ROUTE_NOT_FOUND"
        return NotFound(reason, text, model=question.model)
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        return Invalid([Violation("", text)])
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return Unavailable("SERVICE_UNAVAILABLE", text, model=question.model)
    return None


def _kept(error: grpc.aio.AioRpcError) -> Status:
    """A server's refusal: its own code and text."""
    detail = Packed()
    detail.Pack(ErrorInfo(reason="SERVER_FAILED", domain=DOMAIN))
    return Status(code=error.code().value[0], message=error.details() or "", details=[detail])
