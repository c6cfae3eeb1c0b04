"""A prediction as JSON's callers are told it."""

import math
from collections.abc import Mapping, Sequence

from google.protobuf.struct_pb2 import NULL_VALUE, Value

from penstock.model_serving.v1 import prediction_service_pb2 as pb


def write(said: pb.PredictResponse) -> pb.PredictJsonResponse:
    """The same answer, flat."""
    answer = pb.PredictJsonResponse(
        prediction=_prediction(said),
        model_id=said.model,
        model_version=said.version,
        latency_ms=said.latency.ToMicroseconds() / 1000,
        probabilities=_by_class(said.class_labels, said.probabilities),
        experiment=said.experiment,
        variant=said.variant,
        degradations=said.degradations,
        features=said.features,
        request_id=said.request_id,
    )
    predicted = said.label if said.WhichOneof("prediction") == "label" else str(said.class_index)
    if said.WhichOneof("prediction") != "value" and predicted in answer.probabilities:
        answer.probability = answer.probabilities[predicted]
    return answer


def _prediction(said: pb.PredictResponse) -> Value:
    match said.WhichOneof("prediction"):
        case "label":
            return Value(string_value=said.label)
        case "class_index":
            return Value(number_value=said.class_index)
        case "value" if math.isfinite(said.value):
            return Value(number_value=said.value)
        case "value":
            # as protobuf writes a double in JSON
            return Value(
                string_value="NaN" if math.isnan(said.value) else "Infinity" if said.value > 0 else "-Infinity"
            )
        case None:
            return Value(null_value=NULL_VALUE)


def _by_class(labels: Sequence[str], probabilities: Sequence[float]) -> Mapping[str, float]:
    """By label where each class has one of its own, else by index."""
    names = labels if len(set(labels)) == len(probabilities) else [str(index) for index in range(len(probabilities))]
    return dict(zip(names, probabilities, strict=True))
