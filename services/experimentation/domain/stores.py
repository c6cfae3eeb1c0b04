"""What the service asks of its stores. Every implementation runs the suites in tests/contract."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from services.experimentation.domain.evidence import Evidence
from services.experimentation.domain.experiment import Experiment
from services.experimentation.domain.exposure import Delivery, Taken
from services.experimentation.domain.outcome import Outcome, Reported


class Experiments(Protocol):
    """Experiments and the layers of their models. Unknown names are EXPERIMENT_NOT_FOUND."""

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """What is done in this block is done together, or not at all."""
        ...

    async def create(self, experiment: Experiment) -> Experiment:
        """As stored: the salt is that of the model's layer, and becomes it if the model has none. EXPERIMENT_EXISTS."""
        ...

    async def get(self, name: str) -> Experiment: ...

    async def hold(self, name: str) -> Experiment:
        """As `get`, and until the transaction ends nobody else holds an experiment on the same model."""
        ...

    async def save(self, experiment: Experiment) -> Experiment:
        """Replace the one that is held; every replica is told. The result has a new revision."""
        ...

    async def page(self, model: str, after: str, count: int) -> Sequence[Experiment]:
        """By name, after that one; only on the model unless it is empty."""
        ...

    async def running(self, model: str = "") -> Sequence[Experiment]:
        """On the model, or all."""
        ...

    async def variants(self, names: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """Names of the variants of each experiment that exists."""
        ...


class EvidenceStore(Protocol):
    """Exposures and outcomes."""

    async def take(self, delivery: Delivery) -> Taken:
        """Take lines that begin where the file was committed to; any others change nothing.

        Of exposures with an equal (request_id, hop) only the first is kept.
        """
        ...

    async def report(self, outcomes: Sequence[Outcome]) -> Reported:
        """All or none. EXPERIMENT_NOT_FOUND; REQUEST_ID_REUSED for an id that names another outcome."""
        ...

    async def evidence(self, experiment: str) -> Evidence: ...
