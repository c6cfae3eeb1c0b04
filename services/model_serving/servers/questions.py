"""Questions about servers and models: asked of the servers that have the answer, summed where each has a part."""

import re
from importlib import metadata
from typing import Any, Protocol

import grpc
from tritonclient.grpc import service_pb2

from services.model_serving.domain.catalogue import Catalogue
from services.model_serving.domain.deployment import Deployment, PlacementState
from services.model_serving.domain.loading import OUR_NAME
from services.model_serving.servers import statistics
from services.model_serving.servers.refusal import Refusal, invalid, of_call, unknown

ASK_SECONDS = 5.0
A_NUMBER = re.compile(r"[0-9]{1,18}")
EXTENSIONS = (
    "model_configuration",
    "statistics",
    "model_repository",
    "binary_tensor_data",
    "sequence",
    "classification",
)
# tritonclient has no type stubs: its messages, and what is made of them, are only named here
Message = Any
pb: Any = service_pb2


class Servers(Protocol):
    def stub(self, address: str) -> Any: ...


class Questions:
    """Every method raises Refusal."""

    def __init__(self, catalogue: Catalogue, servers: Servers) -> None:
        self._catalogue = catalogue
        self._servers = servers

    def server_ready(self) -> bool:
        """Whether any registered server answers."""
        return any(server.reachable for server in self._catalogue.servers)

    def server(self) -> Message:
        return pb.ServerMetadataResponse(name=OUR_NAME, version=metadata.version("penstock"), extensions=EXTENSIONS)

    def ready(self, model: str, version: str) -> bool:
        _check_version(version)
        return self._catalogue.ready_address(model, version) is not None

    async def describe(self, model: str, version: str) -> Message:
        """A ModelMetadataResponse."""
        asked = pb.ModelMetadataRequest(name=model, version=version)
        return await _answer(self._of_ready(model, version).ModelMetadata(asked, timeout=ASK_SECONDS))

    async def config(self, model: str, version: str) -> Message:
        """A ModelConfigResponse."""
        asked = pb.ModelConfigRequest(name=model, version=version)
        return await _answer(self._of_ready(model, version).ModelConfig(asked, timeout=ASK_SECONDS))

    async def decoupled(self, model: str) -> bool:
        """Whether it gives other than one answer to a request; False where that cannot be told."""
        try:
            described = await self.config(model, "")
        except Refusal:
            return False
        return described.config.model_transaction_policy.decoupled

    async def statistics(self, model: str, version: str) -> Message:
        """Summed over the servers that have a deployed version ready."""
        ready = {
            (d.model, d.version): d.ready_addresses()
            for d in self._catalogue.deployments(model)
            if version in ("", d.version)
        }
        if model and not any(ready.values()):
            raise unknown(model, version)
        asked = pb.ModelStatisticsRequest(name=model, version=version)
        answers = [
            await _answer(self._servers.stub(address).ModelStatistics(asked, timeout=ASK_SECONDS))
            for address in sorted({address for addresses in ready.values() for address in addresses})
        ]
        return statistics.total(answers, ready.keys())

    def index(self, *, ready: bool) -> Message:
        """What is deployed, on whatever servers."""
        entries = [_entry(deployment) for deployment in self._catalogue.deployments()]
        return pb.RepositoryIndexResponse(models=[entry for entry in entries if entry.state == "READY" or not ready])

    def _of_ready(self, model: str, version: str) -> Any:
        _check_version(version)
        address = self._catalogue.ready_address(model, version)
        if address is None:
            raise unknown(model, version)
        return self._servers.stub(address)


def _check_version(version: str) -> None:
    """As a Triton refuses what is no version at all; one that is nowhere is another matter."""
    if version and not A_NUMBER.fullmatch(version):
        raise invalid(f"invalid model version specified {version!r}, version should be an integral value > 0")


async def _answer(call: Any) -> Message:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise of_call(error) from error


def _entry(deployment: Deployment) -> Message:
    """A version is as far as its furthest server."""
    states = {placement.state for placement in deployment.placements}
    order = (
        (PlacementState.READY, "READY"),
        (PlacementState.LOADING, "LOADING"),
        (PlacementState.UNLOADING, "UNLOADING"),
    )
    state = next((name for member, name in order if member in states), "UNAVAILABLE")
    words = sorted({placement.message for placement in deployment.placements if placement.message})
    return pb.RepositoryIndexResponse.ModelIndex(
        name=deployment.model, version=deployment.version, state=state, reason="; ".join(words)
    )
