"""The contract's messages and what they mean in the domain."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from libs.errors import Faults
from penstock.feature_store.v1 import value_pb2
from penstock.model_serving.v1 import deployment_pb2, model_pb2
from services.model_serving.domain.deployment import Deployment, Placement, Server
from services.model_serving.domain.features import Scalar
from services.model_serving.domain.model import Model, ModelVersion, Stage
from services.model_serving.domain.signature import Signature, TensorSpec

STAGES = {stage: model_pb2.Stage.Value(f"STAGE_{stage.name}") for stage in Stage}
STAGES_READ = {number: stage for stage, number in STAGES.items()} | {model_pb2.STAGE_UNSPECIFIED: Stage.DEVELOPMENT}


def timestamp(instant: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(instant)
    return stamp


def instant(stamp: Timestamp, path: str, faults: Faults) -> datetime | None:
    """None, and a fault, for what is no time."""
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        faults.add(path, "no time between the years 1 and 9999")
        return None


def model(found: Model) -> model_pb2.Model:
    return model_pb2.Model(
        name=found.name,
        description=found.description,
        owner=found.owner,
        etag=found.etag,
        create_time=timestamp(found.create_time),
    )


def model_read(message: model_pb2.Model, now: datetime) -> Model:
    return Model(message.name, message.description, message.owner, "", now)


def version(found: ModelVersion) -> model_pb2.ModelVersion:
    message = model_pb2.ModelVersion(
        model=found.model,
        version=found.version,
        stage=STAGES[found.stage],
        signature=model_pb2.Signature(
            inputs=_tensors(found.signature.inputs), outputs=_tensors(found.signature.outputs)
        ),
        feature_service=found.feature_service,
        class_labels=found.class_labels,
        max_batch_size=found.max_batch_size,
        etag=found.etag,
        create_time=timestamp(found.create_time),
    )
    if found.external:
        message.external = True
    else:
        message.onnx_digest = found.digest
    return message


def version_read(message: model_pb2.ModelVersion, now: datetime) -> ModelVersion:
    return ModelVersion(
        model=message.model,
        version=message.version,
        stage=STAGES_READ[message.stage],
        digest=message.onnx_digest,
        signature=Signature(_specs(message.signature.inputs), _specs(message.signature.outputs)),
        feature_service=message.feature_service,
        class_labels=tuple(message.class_labels),
        max_batch_size=message.max_batch_size if message.HasField("max_batch_size") else None,
        etag=message.etag,
        create_time=now,
    )


def server(found: Server) -> deployment_pb2.Server:
    return deployment_pb2.Server(
        name=found.name,
        address=found.address,
        repository_path=found.repository_path,
        reachable=found.reachable,
        server_version=found.version,
        metrics_address=found.metrics_address,
    )


def server_read(message: deployment_pb2.Server) -> Server:
    return Server(message.name, message.address, message.repository_path, message.metrics_address)


def deployment(found: Deployment) -> deployment_pb2.Deployment:
    return deployment_pb2.Deployment(
        model=found.model,
        version=found.version,
        servers=[placement.server for placement in found.placements],
        state=deployment_pb2.Deployment.State.Value(f"STATE_{found.state.name}"),
        placements=[_placement(placement) for placement in found.placements],
        create_time=timestamp(found.create_time),
    )


def scalars(kind: str, values: Mapping[str, value_pb2.Value], faults: Faults) -> dict[str, Scalar]:
    """`kind` is the name of the field that holds them."""
    return {name: _scalar(value, f"{kind}[{name}]", faults) for name, value in values.items()}


def _scalar(value: value_pb2.Value, path: str, faults: Faults) -> Scalar:
    match value.WhichOneof("kind"):
        case None:
            return None
        case "int64_value":
            return value.int64_value
        case "double_value":
            return value.double_value
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
        case "timestamp_value":
            return instant(value.timestamp_value, path, faults)


def _placement(found: Placement) -> deployment_pb2.Placement:
    return deployment_pb2.Placement(
        server=found.server,
        address=found.address,
        state=deployment_pb2.Placement.State.Value(f"STATE_{found.state.name}"),
        message=found.message,
        update_time=timestamp(found.update_time),
    )


def _tensors(specs: Sequence[TensorSpec]) -> list[model_pb2.TensorSpec]:
    return [model_pb2.TensorSpec(name=spec.name, datatype=spec.datatype, shape=spec.shape) for spec in specs]


def _specs(messages: Sequence[model_pb2.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(message.name, message.datatype, tuple(message.shape)) for message in messages)
