"""Probes, as they go over the wire: one question, one answer, a limit."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import Histogram
from tritonclient.grpc import service_pb2, service_pb2_grpc

from libs.clock import Clock
from services.health_monitoring.domain.belief import Outcome, Probe
from services.health_monitoring.domain.probing import Ask
from services.health_monitoring.domain.target import Kind, Target

# Not libs.channels: a probe wants the target itself, no pings that give a stopped server away as a broken
# connection, and no connection that other probes use too
OPTIONS: tuple[tuple[str, Any], ...] = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
LATE = 1.5

PROBE_SECONDS = Histogram(
    "penstock_probe_duration_seconds",
    "Time from a probe's question to its answer or its limit, by kind of target.",
    ["kind", "outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)

# whether it passed, and what was answered
Answer = tuple[bool, str]


async def _server(channel: grpc.aio.Channel, _target: Target, within: float) -> Answer:
    # not ServerReady: with Triton's default settings one model that failed to load makes the whole server "not ready"
    answer = await _triton(channel).ServerLive(_messages.ServerLiveRequest(), timeout=within)
    return bool(answer.live), "live" if answer.live else "not live"


async def _model_version(channel: grpc.aio.Channel, target: Target, within: float) -> Answer:
    request = _messages.ModelReadyRequest(name=target.model, version=target.version)
    answer = await _triton(channel).ModelReady(request, timeout=within)
    return bool(answer.ready), "ready" if answer.ready else "not ready: not loaded, or failed to load"


async def _service(channel: grpc.aio.Channel, _target: Target, within: float) -> Answer:
    answer = await cast(Any, health_pb2_grpc).HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=within)
    status = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return answer.status == health_pb2.HealthCheckResponse.SERVING, status


_messages = cast(Any, service_pb2)


def _triton(channel: grpc.aio.Channel) -> Any:
    return cast(Any, service_pb2_grpc).GRPCInferenceServiceStub(channel)


QUESTIONS: Mapping[Kind, Callable[[grpc.aio.Channel, Target, float], Awaitable[Answer]]] = {
    Kind.SERVER: _server,
    Kind.MODEL_VERSION: _model_version,
    Kind.SERVICE: _service,
}


class _Line:
    """A connection to one target: kept while it answers, made anew after each probe that did not pass.

    A connection that went silent would otherwise be waited for long after its target is back.
    """

    def __init__(self, target: Target, clock: Clock) -> None:
        self._target = target
        self._clock = clock
        self._channel = self._open()

    def _open(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self._target.address, options=OPTIONS)

    async def __call__(self, within: float) -> Probe | None:
        time, started = self._clock.now(), self._clock.monotonic()
        outcome, message = await self._ask(within)
        took = self._clock.monotonic() - started
        if outcome is not Outcome.PASSED:
            await self.close()
            self._channel = self._open()
        if outcome is Outcome.UNANSWERED and took > within * LATE:
            return None
        PROBE_SECONDS.labels(self._target.kind, outcome).observe(took)
        return Probe(time, outcome, message, took)

    async def _ask(self, within: float) -> tuple[Outcome, str]:
        try:
            passed, message = await QUESTIONS[self._target.kind](self._channel, self._target, within)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return Outcome.UNANSWERED, f"no answer within {within:g} s"
            return Outcome.FAILED, f"{error.code().name}: {error.details() or 'no details'}"
        return Outcome.PASSED if passed else Outcome.FAILED, message

    async def close(self) -> None:
        await self._channel.close()


def prober(clock: Clock) -> Callable[[Target], Any]:
    """Opens a line to a target for the length of a block."""

    @asynccontextmanager
    async def line(target: Target) -> AsyncGenerator[Ask]:
        opened = _Line(target, clock)
        try:
            yield opened
        finally:
            await opened.close()

    return line
