"""One prediction: which version's inputs, features, tensors, the native route, and what its answer means."""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from libs.errors import Invalid, NotFound, PenstockError, Precondition, Violation
from services.model_serving.domain import tensors
from services.model_serving.domain.answers import Answer, answer
from services.model_serving.domain.catalogue import Catalogue, ambiguous, difference, not_deployed
from services.model_serving.domain.features import Contract, Feature, FeatureStatus, Query, Scalar, asked, vector
from services.model_serving.domain.model import Model, ModelVersion
from services.model_serving.domain.tensors import Tensor


@dataclass(frozen=True)
class Question:
    """What a caller asks."""

    model: str
    version: str
    """Empty: the route decides."""
    entities: Mapping[str, Scalar]
    features: Mapping[str, Scalar]
    as_of: datetime | None
    routing_keys: tuple[str, ...]
    """As they were sent: more than one is the route's to refuse."""
    deadline: float | None
    """On the clock that `Predictor` was given; None for none."""


@dataclass(frozen=True)
class Inference:
    """What came back by the native route."""

    outputs: tuple[Tensor, ...]
    model: str
    version: str
    experiment: str
    variant: str
    degraded: tuple[str, ...]


@dataclass(frozen=True)
class Prediction:
    answer: Answer
    inference: Inference
    class_labels: tuple[str, ...]
    features: tuple[Feature, ...]
    stages: tuple[tuple[str, float], ...]
    """Seconds, in order."""

    @property
    def partial(self) -> bool:
        return any(feature.status is not FeatureStatus.PRESENT for feature in self.features)


class FeatureSource(Protocol):
    """The feature store; raises its errors, or Unavailable."""

    async def contract(self, feature_service: str) -> Contract: ...
    async def fetch(
        self, contract: Contract, query: Query, as_of: datetime | None, seconds: float | None
    ) -> Sequence[Feature]: ...


class Route(Protocol):
    """The native inference route. Raises what the call raises."""

    async def run(self, question: Question, inputs: Sequence[Tensor], seconds: float | None) -> Inference: ...


class Routing(Protocol):
    """Raises NotFound for a model without a route, and whatever else keeps it from telling."""

    async def leads_to(self, model: str, unit: str, seconds: float | None) -> Sequence[str]:
        """Versions that may answer this caller; an empty unit is a caller without a routing key."""
        ...


class Versions(Protocol):
    """The registry; raises NotFound, Unavailable."""

    async def get_model(self, name: str) -> Model: ...
    async def get_version(self, model: str, version: str) -> ModelVersion: ...


class Stages:
    """Times the stages of one prediction."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.seconds: list[tuple[str, float]] = []

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        started = self._clock()
        yield
        self.seconds.append((name, self._clock() - started))


class Predictor:
    def __init__(
        self,
        catalogue: Catalogue,
        versions: Versions,
        features: FeatureSource,
        route: Route,
        routing: Routing,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._versions = versions
        self._features = features
        self._route = route
        self._routing = routing
        self._clock = clock

    async def predict(self, question: Question) -> Prediction:
        stages = Stages(self._clock)
        with stages.stage("features"):
            asked_of = await self._asked_of(question)
            served = await self._served(question, asked_of)
        with stages.stage("tensor"):
            size = asked_of.max_batch_size or 0
            if asked_of.feature_service:
                inputs = tensors.of_vector(asked_of.signature, size, served)
            else:
                inputs = tensors.of_elements(asked_of.signature, size, question.features)
        with stages.stage("inference"):
            inference = await self._route.run(question, inputs, self._left(question))
        with stages.stage("answer"):
            labels = (await self._version(inference.model, inference.version)).class_labels
            said = answer(inference.outputs, labels)
        return Prediction(said, inference, labels, served, tuple(stages.seconds))

    async def _asked_of(self, question: Question) -> ModelVersion:
        """The version whose inputs are to be made."""
        if question.version:
            version = await self._version(question.model, question.version)
        else:
            serving = self._catalogue.serving(question.model)
            if not serving:
                await self._versions.get_model(question.model)
                raise not_deployed(question.model)
            differing = difference(serving)
            version = await self._led_to(question, differing) if differing else serving[0]
        if not version.signature or version.max_batch_size is None:
            message = (
                f"the inputs of version {version.version} of {version.model!r} are not known: register it with a"
                " signature, or wait until a server has it ready"
            )
            raise Precondition("SIGNATURE_MISSING", message, model=version.model, version=version.version)
        return version

    async def _led_to(self, question: Question, deployed: str) -> ModelVersion:
        """Any of the versions between which the route chooses for this caller, where not all that are deployed agree.

        Raises NotFound, Precondition.
        """
        model = question.model
        unit = question.routing_keys[0] if question.routing_keys else ""
        try:
            names = await self._routing.leads_to(model, unit, self._left(question))
        except NotFound:
            raise
        except PenstockError as unknown:
            why = f"{deployed}, are deployed of {model!r}, and to which of them the route leads is not known: {unknown}"
            raise ambiguous(model, why) from unknown
        versions = [await self._version(model, name) for name in names]
        if not versions:
            raise ambiguous(model, f"{deployed}, are deployed of {model!r}, and the route leads to none of them now")
        differing = difference(versions)
        if differing:
            raise ambiguous(model, f"the route of {model!r} may lead to {differing}")
        return versions[0]

    async def _version(self, model: str, version: str) -> ModelVersion:
        known = self._catalogue.version(model, version)
        if known is not None:
            return known
        await self._versions.get_model(model)
        return await self._versions.get_version(model, version)

    async def _served(self, question: Question, version: ModelVersion) -> tuple[Feature, ...]:
        if not version.feature_service:
            if question.entities:
                description = f"version {version.version} of {version.model!r} has no feature service to ask with them"
                raise Invalid([Violation("entities", description)])
            return ()
        contract = await self._features.contract(version.feature_service)
        ask = asked(contract, question.entities, question.features)
        fetched: Sequence[Feature] = ()
        if ask.query is not None:
            fetched = await self._features.fetch(contract, ask.query, question.as_of, self._left(question))
        return vector(contract, fetched, ask.overrides)

    def _left(self, question: Question) -> float | None:
        """Seconds until the caller's deadline."""
        return None if question.deadline is None else max(question.deadline - self._clock(), 0.001)
