"""predict: one prediction, by entity keys, features, or both."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp

from clients.cli.session import header, session
from penstock.feature_store.v1.value_pb2 import FeatureStatus, Value
from penstock.model_serving.v1.prediction_service_pb2 import Degradation, PredictRequest, PredictResponse
from penstock_client import value
from penstock_client.values import microseconds

Pairs = list[str]


def predict(
    context: typer.Context,
    model: str,
    entity: Annotated[Pairs, typer.Option("--entity", "-e", help="join key: tailnum=N14228")] = [],
    feature: Annotated[Pairs, typer.Option("--feature", "-f", help="request feature: distance=529")] = [],
    key: Annotated[str, typer.Option("--key", "-k", help="routing key: who the call is for")] = "",
    version: Annotated[str, typer.Option(help="pin a version, outside every experiment")] = "",
    as_of: Annotated[str, typer.Option(help="read features as of this time: 2013-03-08T17:05:00Z")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="the whole answer")] = False,
) -> None:
    """Ask for one prediction."""
    metadata = [("x-penstock-routing-key", header(key, "--key"))] if key else []
    at = session(context)
    request = PredictRequest(
        model=model,
        version=version,
        entities=_values(entity),
        features=_values(feature),
        include_features=True,
    )
    if as_of:
        request.as_of.CopyFrom(_time(as_of))
    answer = at.penstock.predictions.Predict(request, metadata=metadata)
    if as_json:
        at.json(answer)
        return
    at.console.print(_sentence(answer))
    rows = [(f.name, f"{f.value:g}", _status(f.status)) for f in answer.features]
    if rows:
        at.table(("feature", "value", "status"), rows, "")


def _values(pairs: Pairs) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not (name and equals):
            raise typer.BadParameter(f"{pair!r} is not name=value")
        found[name] = value(_scalar(text))
    return found


def _scalar(text: str) -> bool | float | str | datetime | None:
    """JSON's numbers, booleans and null; a time with a zone; else text. Quotes make anything text: '"5"'."""
    try:
        parsed: object = json.loads(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return text
        return moment if moment.tzinfo else text
    return parsed if isinstance(parsed, bool | int | float | str) or parsed is None else text


def _time(text: str) -> Timestamp:
    try:
        moment = datetime.fromisoformat(text)
        stamp = Timestamp()
        stamp.FromMicroseconds(microseconds(moment))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a time with a zone, like 2013-03-08T17:05:00Z") from error
    return stamp


def _status(status: FeatureStatus) -> str:
    return FeatureStatus.Name(status).removeprefix("FEATURE_STATUS_").lower().replace("_", " ")


def _sentence(answer: PredictResponse) -> str:
    kind = answer.WhichOneof("prediction") or "value"
    names = answer.class_labels or [str(i) for i in range(len(answer.probabilities))]
    chances = ", ".join(f"{n} {p:.4f}" for n, p in zip(names, answer.probabilities, strict=False))
    parts = [
        str(getattr(answer, kind)),
        f"({chances})" if chances else "",
        f"by {answer.model} version {answer.version}",
    ]
    if answer.experiment:
        parts.append(f"as {answer.variant} of {answer.experiment}")
    parts.append(f"in {answer.latency.ToMicroseconds() / 1000:.1f} ms")
    degraded = [Degradation.Name(d).removeprefix("DEGRADATION_").lower().replace("_", "-") for d in answer.degradations]
    return " ".join(part for part in parts if part) + (f"; {', '.join(degraded)}" if degraded else "")
