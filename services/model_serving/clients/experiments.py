"""experimentation, asked which running experiments name a version."""

from collections.abc import Sequence

import grpc

from libs.statuses import from_sibling
from penstock.experimentation.v1 import experimentation_service_pb2, experimentation_service_pb2_grpc
from penstock.experimentation.v1.experiment_pb2 import Experiment

SERVICE = "experimentation"
LONGEST_SECONDS = 2.0
"""Long enough to connect again to a mesh listener that has just come up."""


class Experiments:
    """Through the mesh listener."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = experimentation_service_pb2_grpc.ExperimentationServiceStub(channel)

    async def uses(self, model: str, version: str) -> Sequence[str]:
        """A variant of each running experiment that names the version. Raises Unavailable."""
        return [
            f"variant {variant.name!r} of the running experiment {experiment.name!r}"
            for experiment in await self._on(model)
            for variant in experiment.variants
            if experiment.state == Experiment.STATE_RUNNING and variant.version == version
        ]

    async def _on(self, model: str) -> Sequence[Experiment]:
        asked = experimentation_service_pb2.ListExperimentsRequest(model=model, page_size=1000)
        found: list[Experiment] = []
        while True:
            try:
                page = await self._stub.ListExperiments(asked, timeout=LONGEST_SECONDS, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                raise from_sibling(error, SERVICE) from error
            found += page.experiments
            if not page.next_page_token:
                return found
            asked.page_token = page.next_page_token
