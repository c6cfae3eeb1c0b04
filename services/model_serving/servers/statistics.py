"""Statistics of several servers as one, in tritonclient's messages."""

from collections.abc import Collection, Iterable
from typing import Any

from tritonclient.grpc import service_pb2

# tritonclient has no type stubs
Message = Any
pb: Any = service_pb2


def total(answers: Iterable[Message], wanted: Collection[tuple[str, str]]) -> Message:
    """Of the wanted (model, version)s: counts and times summed, the last inference the latest."""
    sums: dict[tuple[str, str], Message] = {}
    for answer in answers:
        for found in answer.model_stats:
            key = found.name, found.version
            if key in wanted:
                _add(sums.setdefault(key, pb.ModelStatistics(name=found.name, version=found.version)), found)
    return pb.ModelStatisticsResponse(model_stats=[sums[key] for key in sorted(sums)])


def _add(into: Message, found: Message) -> None:
    into.inference_count += found.inference_count
    into.execution_count += found.execution_count
    into.last_inference = max(into.last_inference, found.last_inference)
    for stage in found.inference_stats.DESCRIPTOR.fields:
        _add_duration(getattr(into.inference_stats, stage.name), getattr(found.inference_stats, stage.name))
    batches = {batch.batch_size: batch for batch in into.batch_stats}
    for batch in found.batch_stats:
        same = batches.get(batch.batch_size) or into.batch_stats.add(batch_size=batch.batch_size)
        for stage in ("compute_input", "compute_infer", "compute_output"):
            _add_duration(getattr(same, stage), getattr(batch, stage))
    for key, answers in found.response_stats.items():
        for part in answers.DESCRIPTOR.fields:
            _add_duration(getattr(into.response_stats[key], part.name), getattr(answers, part.name))
    into.memory_usage.extend(found.memory_usage)


def _add_duration(into: Message, found: Message) -> None:
    into.count += found.count
    into.ns += found.ns
