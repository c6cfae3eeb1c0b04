"""A Triton's control calls. Inference never goes this way: it would pass the policy by."""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from libs.channels import OPTIONS
from services.model_serving.domain.configuration import OWNER
from services.model_serving.domain.loading import OUR_NAME, Ourselves, Refused, Unreachable
from services.model_serving.domain.reconcile import Seen
from services.model_serving.domain.signature import Signature, TensorSpec

# tritonclient has no type stubs
pb: Any = service_pb2
stubs: Any = service_pb2_grpc
configs: Any = model_config_pb2

ASK_SECONDS = 1.0
UNLOAD_SECONDS = 30.0
LOAD_SECONDS = 300.0
# the pace of asking tells sooner than pings would, and servers that do not expect pings hang up on them
WITHOUT_PINGS = [pair for pair in OPTIONS if "keepalive" not in pair[0] and "pings" not in pair[0]]
# a load call may carry whole models
UNBOUNDED = {"grpc.max_send_message_length": -1, "grpc.max_receive_message_length": -1}
CHANNEL = [(name, UNBOUNDED.get(name, value)) for name, value in WITHOUT_PINGS]


class TritonChannels:
    """One channel for each address, kept."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}

    def stub(self, address: str) -> Any:
        """Calls need a timeout of their own."""
        return stubs.GRPCInferenceServiceStub(self.channel(address))

    def channel(self, address: str) -> grpc.aio.Channel:
        if address not in self._channels:
            self._channels[address] = grpc.aio.insecure_channel(address, options=CHANNEL)
        return self._channels[address]

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()


async def is_ourselves(address: str) -> bool:
    """Whether Penstock answers there; False also when nobody does within a second."""
    async with grpc.aio.insecure_channel(address, options=CHANNEL) as channel:
        try:
            await TritonServer(channel, address).version()
        except Ourselves:
            return True
        except Unreachable:
            return False
    return False


class TritonServer:
    """`channel` leads to `address`, which is `host:port`."""

    def __init__(self, channel: grpc.aio.Channel, address: str) -> None:
        self._channel = channel
        self._address = address
        self._stub = stubs.GRPCInferenceServiceStub(channel)

    async def observe(self, owners_of: Sequence[str]) -> Seen:
        """Statistics list the versions that are ready; the index would leave out those that were loaded as bytes."""
        try:
            statistics = await self._statistics()
        except grpc.aio.AioRpcError as error:
            raise _unreachable(error) from error
        ready = frozenset((model.name, model.version) for model in statistics.model_stats)
        any_version = dict(sorted(ready))
        owners: dict[str, str] = {}
        for model in owners_of:
            if model in any_version:
                config = await self._config(model, any_version[model])
                if config is not None:
                    owners[model] = config.parameters[OWNER].string_value if OWNER in config.parameters else ""
        return Seen(ready, owners)

    async def _statistics(self) -> Any:
        request = pb.ModelStatisticsRequest()
        try:
            return await self._stub.ModelStatistics(request, timeout=ASK_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            if await _refuses(self._address):
                raise Unreachable(f"nothing listens: {error.details()}", gone=True) from error
        # the connection broke and somebody is there: perhaps another process already, with nothing loaded
        return await self._stub.ModelStatistics(request, timeout=ASK_SECONDS, wait_for_ready=True)

    async def version(self) -> str:
        try:
            metadata = await self._stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=ASK_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _unreachable(error) from error
        if metadata.name == OUR_NAME:
            raise Ourselves
        return metadata.version

    async def lost(self) -> None:
        while (state := self._channel.get_state()) is not grpc.ChannelConnectivity.READY:
            await self._channel.wait_for_state_change(state)
        await self._channel.wait_for_state_change(grpc.ChannelConnectivity.READY)

    async def load(self, model: str, configuration: str, contents: Mapping[str, bytes]) -> None:
        """Without a configuration, as the server's own repository has it. Returns when it is loaded."""
        request = pb.RepositoryModelLoadRequest(model_name=model)
        if configuration:
            request.parameters["config"].string_param = configuration
        for path, content in contents.items():
            request.parameters[f"file:{path}"].bytes_param = content
        try:
            await self._stub.RepositoryModelLoad(request, timeout=LOAD_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _refused(error, f"not loaded within {LOAD_SECONDS:.0f} s") from error

    async def unload(self, model: str) -> None:
        try:
            await self._stub.RepositoryModelUnload(
                pb.RepositoryModelUnloadRequest(model_name=model), timeout=UNLOAD_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            raise _refused(error, f"not unloaded within {UNLOAD_SECONDS:.0f} s") from error

    async def ready(self, model: str, version: str) -> bool:
        request = pb.ModelReadyRequest(name=model, version=version)
        try:
            return (await self._stub.ModelReady(request, timeout=ASK_SECONDS)).ready
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise _unreachable(error) from error

    async def describe(self, model: str, version: str) -> tuple[Signature, int]:
        config = await self._config(model, version)
        if config is None:
            raise Refused(f"the server does not describe version {version}")
        inputs = tuple(_spec(tensor) for tensor in config.input)
        return Signature(inputs, tuple(_spec(tensor) for tensor in config.output)), config.max_batch_size

    async def _config(self, model: str, version: str) -> Any:
        """A ModelConfig; None when the server does not have it any more."""
        request = pb.ModelConfigRequest(name=model, version=version)
        try:
            return (await self._stub.ModelConfig(request, timeout=ASK_SECONDS)).config
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND or "not at ready state" in (error.details() or ""):
                return None
            raise _unreachable(error) from error


def _spec(tensor: Any) -> TensorSpec:
    datatype = configs.DataType.Name(tensor.data_type).removeprefix("TYPE_")
    return TensorSpec(tensor.name, "BYTES" if datatype == "STRING" else datatype, tuple(tensor.dims))


def _unreachable(error: grpc.aio.AioRpcError) -> Unreachable:
    return Unreachable(f"{error.code().name}: {error.details()}")


async def _refuses(address: str) -> bool:
    """Whether its host says of every address behind the name that nothing listens there. gRPC tells a connection that
    is refused from one that gets no answer only in words for people."""
    loop = asyncio.get_running_loop()
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(ASK_SECONDS):
            found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
            return all([await _refused_at(family, where) for family, *_, where in found])
    except OSError:  # also when time is up
        return False


async def _refused_at(family: int, where: Any) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as tried:
        tried.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(tried, where)
        except ConnectionRefusedError:
            return True
    return False


def _refused(error: grpc.aio.AioRpcError, late: str) -> Refused | Unreachable:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return Refused(late)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return _unreachable(error)
    return Refused(error.details() or error.code().name)
