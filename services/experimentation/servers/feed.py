"""Keeps the published allocations equal to the stored ones."""

import asyncio
import logging

from libs.errors import PASSING
from libs.watch import Publisher
from penstock.experimentation.v1.experiment_pb2 import Allocation
from services.experimentation.domain.stores import Experiments
from services.experimentation.servers.metrics import RUNNING
from services.experimentation.servers.wire import allocation_message

log = logging.getLogger(__name__)

RETRY_SECONDS = 0.5


class AllocationFeed:
    """`changed` is called at every notification, and whenever one may have been missed; `run` then reads anew.

    What was published stays in force for watchers while the store is away.
    """

    def __init__(self, experiments: Experiments, publisher: Publisher[Allocation]) -> None:
        self._experiments = experiments
        self._publisher = publisher
        self._changed = asyncio.Event()

    def changed(self, _payload: str = "") -> None:
        self._changed.set()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                running = await self._experiments.running()
            except PASSING as error:
                log.warning("allocations stay as they were: %s", error.message)
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            RUNNING.set(len(running))
            if self._publisher.publish(allocation_message(experiment) for experiment in running):
                log.info("published the allocations of %d experiments", len(running))
