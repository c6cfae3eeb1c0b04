"""ExperimentationService: decode, ask the domain and the stores, encode."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any, Protocol

from libs.clock import Clock
from libs.errors import Invalid, Precondition, Violation, collecting
from libs.idempotency import once, once_after
from libs.paging import page
from libs.postgres import Database
from libs.watch import Publisher
from penstock.experimentation.v1 import experimentation_service_pb2 as pb
from penstock.experimentation.v1.experiment_pb2 import Allocation
from penstock.experimentation.v1.experimentation_service_pb2_grpc import ExperimentationServiceServicer
from services.experimentation.domain.allocation import assign, check_units, require_room
from services.experimentation.domain.analysis import Analysis, analyse
from services.experimentation.domain.experiment import MODEL, Experiment, State, Variant, findable
from services.experimentation.domain.exposure import Delivery, Judgement, sift
from services.experimentation.domain.outcome import check_outcomes
from services.experimentation.domain.stores import EvidenceStore, Experiments
from services.experimentation.servers import metrics
from services.experimentation.servers.records import check_batch, served_of
from services.experimentation.servers.wire import (
    allocation_message,
    analysis_message,
    draft_of,
    experiment_message,
    outcomes_of,
)

SALT_BYTES = 8


class Routes(Protocol):
    """What graduation needs of routing."""

    async def set_default_version(self, model: str, version: str) -> None: ...


class Serving(Protocol):
    """What a start needs of model_serving."""

    async def ready_versions(self, model: str) -> frozenset[str]: ...


class ExperimentationServicer(ExperimentationServiceServicer):
    def __init__(
        self,
        database: Database,
        experiments: Experiments,
        evidence: EvidenceStore,
        routes: Routes,
        serving: Serving,
        publisher: Publisher[Allocation],
        clock: Clock,
    ) -> None:
        self._database = database
        self._experiments = experiments
        self._evidence = evidence
        self._routes = routes
        self._serving = serving
        self._publisher = publisher
        self._clock = clock

    async def CreateExperiment(self, request: pb.CreateExperimentRequest, context: Any) -> pb.CreateExperimentResponse:
        with collecting() as faults:
            draft = draft_of(request.experiment, faults)
            draft.check(faults)

        async def create() -> pb.CreateExperimentResponse:
            salt = secrets.token_hex(SALT_BYTES)
            created = await self._experiments.create(Experiment(draft, salt, State.DRAFT, self._clock.now()))
            return pb.CreateExperimentResponse(experiment=experiment_message(created))

        return await once(self._database, request, pb.CreateExperimentResponse, create)

    async def GetExperiment(self, request: pb.GetExperimentRequest, context: Any) -> pb.GetExperimentResponse:
        return pb.GetExperimentResponse(experiment=experiment_message(await self._experiments.get(request.name)))

    async def ListExperiments(self, request: pb.ListExperimentsRequest, context: Any) -> pb.ListExperimentsResponse:
        wanted = page(request.page_size, request.page_token)
        after = wanted.after[0] if wanted.after else ""
        with collecting() as faults:
            faults.require(not request.model or MODEL.fullmatch(request.model), "model", "is no name of a model")
            faults.require(not after or findable(after), "page_token", "not a token that this list returned")
        rows, token = wanted.split(
            await self._experiments.page(request.model, after, wanted.lookahead), lambda experiment: (experiment.name,)
        )
        return pb.ListExperimentsResponse(
            experiments=[experiment_message(experiment) for experiment in rows], next_page_token=token
        )

    async def StartExperiment(self, request: pb.StartExperimentRequest, context: Any) -> pb.StartExperimentResponse:
        async def startable(experiment: Experiment) -> Experiment:
            started = experiment.started(self._clock.now())
            require_room(started, await self._experiments.running(started.model))
            return started

        async def ask() -> frozenset[str]:
            # only where nothing else is in the way; unanswered, nothing starts and what runs goes on
            started = await startable(await self._experiments.get(request.name))
            return await self._serving.ready_versions(started.model)

        async def start(ready: frozenset[str]) -> pb.StartExperimentResponse:
            started = await startable(await self._experiments.hold(request.name))
            started.require_ready(ready)
            saved = await self._experiments.save(started)
            return pb.StartExperimentResponse(
                experiment=experiment_message(saved), allocation=allocation_message(saved)
            )

        return await once_after(self._database, request, ask, pb.StartExperimentResponse, start)

    async def StopExperiment(self, request: pb.StopExperimentRequest, context: Any) -> pb.StopExperimentResponse:
        async def stop() -> pb.StopExperimentResponse:
            stopped = (await self._experiments.hold(request.name)).stopped(self._clock.now())
            return pb.StopExperimentResponse(experiment=experiment_message(await self._experiments.save(stopped)))

        return await once(self._database, request, pb.StopExperimentResponse, stop)

    async def GraduateExperiment(
        self, request: pb.GraduateExperimentRequest, context: Any
    ) -> pb.GraduateExperimentResponse:
        async def graduate() -> pb.GraduateExperimentResponse:
            experiment = await self._experiments.hold(request.name)
            if not experiment.has_graduated(request.variant):
                experiment.require(State.RUNNING, "graduated")
                winner = await self._winner(experiment, request.variant)
                # Routing first: if we fail after it, the experiment still runs and graduating again completes it.
                # With the row in hand: of two who graduate different variants one is refused before routing hears of it
                await self._routes.set_default_version(experiment.model, winner.version)
                experiment = await self._experiments.save(experiment.graduated(winner.name, self._clock.now()))
            return pb.GraduateExperimentResponse(experiment=experiment_message(experiment))

        return await once(self._database, request, pb.GraduateExperimentResponse, graduate)

    async def Assign(self, request: pb.AssignRequest, context: Any) -> pb.AssignResponse:
        check_units(request.units)
        assigned = assign(await self._experiments.get(request.experiment), request.units)
        return pb.AssignResponse(
            assignments=[
                pb.Assignment(unit=one.unit, bucket=one.bucket, variant=one.variant, version=one.version)
                for one in assigned
            ]
        )

    async def ReportOutcomes(self, request: pb.ReportOutcomesRequest, context: Any) -> pb.ReportOutcomesResponse:
        with collecting() as faults:
            outcomes = outcomes_of(request, faults)
            check_outcomes(faults, outcomes)
        reported = await self._evidence.report(outcomes)
        metrics.OUTCOMES.labels("accepted").inc(reported.accepted)
        metrics.OUTCOMES.labels("repeated").inc(reported.repeated)
        return pb.ReportOutcomesResponse(
            accepted=reported.accepted, repeated_outcomes=reported.repeated, waiting=reported.waiting
        )

    async def AnalyzeExperiment(
        self, request: pb.AnalyzeExperimentRequest, context: Any
    ) -> pb.AnalyzeExperimentResponse:
        analysis = await self._analyse(await self._experiments.get(request.name))
        message = analysis_message(request.name, analysis, self._clock.now())
        return pb.AnalyzeExperimentResponse(analysis=message)

    async def WatchAllocations(
        self, request: pb.WatchAllocationsRequest, context: Any
    ) -> AsyncIterator[pb.WatchAllocationsResponse]:
        async for snapshot in self._publisher.watch(request.last_revision):
            if snapshot is None:
                yield pb.WatchAllocationsResponse(revision=request.last_revision, complete=True, unchanged=True)
                continue
            for allocations, last in snapshot.parts():
                yield pb.WatchAllocationsResponse(revision=snapshot.revision, allocations=allocations, complete=last)

    async def DeliverRecords(self, request: pb.DeliverRecordsRequest, context: Any) -> pb.DeliverRecordsResponse:
        batch = request.batch
        check_batch(batch)
        served = served_of(batch)
        variants = await self._experiments.variants({one.experiment for one in served if one.experiment})
        exposures, judged = sift(served, variants)
        taken = await self._evidence.take(
            Delivery(batch.proxy, batch.file, batch.start_offset, batch.end_offset, exposures, batch.unreadable)
        )
        metrics.DELIVERIES.labels("taken" if taken.lines else "out_of_place").inc()
        if taken.lines:
            judged[Judgement.REPEATED] = len(exposures) - taken.exposures
            judged[Judgement.EXPOSURE] = taken.exposures
            for judgement, count in judged.items():
                metrics.RECORDS.labels(judgement.value).inc(count)
            metrics.UNREADABLE.inc(batch.unreadable)
        return pb.DeliverRecordsResponse(committed_offset=taken.committed)

    async def _analyse(self, experiment: Experiment) -> Analysis:
        evidence = await self._evidence.evidence(experiment.name)
        # beside the event loop: millions of outcomes take a second
        return await asyncio.to_thread(analyse, experiment, evidence)

    async def _winner(self, experiment: Experiment, forced: str) -> Variant:
        if not forced:
            analysis = await self._analyse(experiment)
            if not analysis.winner:
                raise Precondition("NO_WINNER", analysis.verdict, experiment=experiment.name)
            forced = analysis.winner
        winner = experiment.variant(forced)
        if winner is None:
            raise Invalid([Violation("variant", f"{experiment.name!r} has no variant {forced!r}")])
        return winner
