"""experiment: compare versions on units, and ship the one that wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import grpc
import typer

from clients.cli.failures import fail, words
from clients.cli.pages import every
from clients.cli.session import Session, session
from penstock.experimentation.v1 import experimentation_service_pb2 as pb
from penstock.experimentation.v1.analysis_pb2 import VariantAnalysis
from penstock.experimentation.v1.experiment_pb2 import Experiment, Variant

app = typer.Typer(help="Compare versions on units.", no_args_is_help=True)


@app.command()
def create(
    context: typer.Context,
    name: str,
    model: str,
    variant: Annotated[list[str], typer.Option(help="name=version:weight of 10000; the first is the control")],
    coverage: Annotated[int, typer.Option(help="ten-thousandths of every variant's buckets that are used")] = 10_000,
    first_bucket: Annotated[int, typer.Option(help="where its slice of the layer begins")] = 0,
    minimum_lift: Annotated[float, typer.Option(help="relative lift that is worth shipping")] = 0.0,
    lower_is_better: Annotated[bool, typer.Option(help="a low rate of positive outcomes is good")] = False,
    start: Annotated[bool, typer.Option("--start", help="start it at once")] = False,
) -> None:
    """Create one: `penstock experiment create bigger flight-delay --variant old=1:5000 --variant new=2:5000`."""
    at = session(context)
    made = Experiment(
        name=name,
        model=model,
        variants=[_variant(text) for text in variant],
        coverage=coverage,
        first_bucket=first_bucket,
        minimum_lift=minimum_lift,
        direction=Experiment.DIRECTION_LOWER if lower_is_better else Experiment.DIRECTION_HIGHER,
    )
    stored = at.penstock.experiments.CreateExperiment(pb.CreateExperimentRequest(experiment=made)).experiment
    if start:
        try:
            stored = at.penstock.experiments.StartExperiment(pb.StartExperimentRequest(name=name)).experiment
        except grpc.RpcError as error:
            what, then = words(error, at.address)
            fail(what, f"{then}\n{name} is created; to start it then: `penstock experiment start {name}`.".strip())
    _show(at, [stored])


@app.command()
def start(context: typer.Context, name: str) -> None:
    """Let its variants serve its buckets."""
    at = session(context)
    _show(at, [at.penstock.experiments.StartExperiment(pb.StartExperimentRequest(name=name)).experiment])


@app.command()
def stop(context: typer.Context, name: str) -> None:
    """Let the default version serve its buckets again."""
    at = session(context)
    _show(at, [at.penstock.experiments.StopExperiment(pb.StopExperimentRequest(name=name)).experiment])


@app.command()
def graduate(
    context: typer.Context,
    name: str,
    variant: Annotated[str, typer.Option(help="ship this one whatever the evidence")] = "",
) -> None:
    """Make the winner's version the route's default."""
    at = session(context)
    request = pb.GraduateExperimentRequest(name=name, variant=variant)
    _show(at, [at.penstock.experiments.GraduateExperiment(request).experiment])


@app.command("list")
def list_experiments(context: typer.Context, model: Annotated[str, typer.Argument()] = "") -> None:
    """Every experiment, or those of a model."""
    at = session(context)
    request = pb.ListExperimentsRequest(model=model)
    _show(at, list(every(at.penstock.experiments.ListExperiments, request, "experiments")))


@app.command()
def show(context: typer.Context, name: str) -> None:
    """The evidence and the verdict."""
    at = session(context)
    found = at.penstock.experiments.AnalyzeExperiment(pb.AnalyzeExperimentRequest(name=name)).analysis
    at.table(("", *(v.variant for v in found.variants)), _evidence(found.variants), "")
    at.console.print()
    at.console.print(found.verdict)
    if found.waiting_outcomes:
        at.console.print(
            f"{found.waiting_outcomes} outcomes wait for their exposure: the record log brings it within seconds, or it"
            " was served outside the experiment"
        )


def _evidence(variants: Sequence[VariantAnalysis]) -> list[tuple[object, ...]]:
    """A row for each figure, a column for each variant; the first is the control."""

    def row(name: str, figure: Callable[[VariantAnalysis], object]) -> tuple[object, ...]:
        return name, *(figure(v) for v in variants)

    def beside(name: str, figure: Callable[[VariantAnalysis], object]) -> tuple[object, ...]:
        return name, "control", *(figure(v) for v in variants[1:])

    return [
        row("version", lambda v: v.version),
        row("units", lambda v: v.exposed_units),
        row("outcomes", lambda v: v.outcomes),
        row("positive", lambda v: v.positive_outcomes),
        row("rate [95 %]", lambda v: f"{v.mean_rate:.4f} [{v.rate_low:.4f}, {v.rate_high:.4f}]"),
        beside("lift [95 %]", lambda v: f"{v.lift:+.4f} [{v.lift_low:+.4f}, {v.lift_high:+.4f}]"),
        beside("P(better)", lambda v: f"{v.probability_better:.4f}"),
    ]


def _variant(text: str) -> Variant:
    name, _, rest = text.partition("=")
    version, _, weight = rest.partition(":")
    if not (name and version and weight.isdigit()):
        raise typer.BadParameter(f"{text!r} is not name=version:weight, like new=2:5000")
    return Variant(name=name, version=version, weight=int(weight))


def _show(at: Session, experiments: list[Experiment]) -> None:
    rows = [
        (
            e.name,
            e.model,
            Experiment.State.Name(e.state).removeprefix("STATE_").lower(),
            ", ".join(f"{v.name}={v.version}:{v.weight}" for v in e.variants),
            f"{e.coverage / 100:g} %",
            e.winner,
        )
        for e in experiments
    ]
    columns = ("experiment", "model", "state", "variants", "coverage", "winner")
    at.table(columns, rows, "No experiments yet: `penstock experiment create --help`.")
