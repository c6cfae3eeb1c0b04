"""`make demo`: train on two months, serve a week through the whole mesh, break servers meanwhile, account for it all.

Exits with 1 if a call failed, if a vector that was served differs from the point-in-time join for the same flight, or
if the ledger does not equal both what the clients counted and what Envoy completed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pandas as pd
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.local import FAULTS
from deploy.local.places import Places, default_home
from deploy.local.ports import Ports
from deploy.local.stack import Stack
from examples.flights import data, features, report, serving, training
from examples.flights.chaos import Chaos
from examples.flights.replay import Replay
from examples.flights.report import Check
from penstock.cost_tracking.v1.cost_tracking_service_pb2 import GetSpendRequest, ReconcileRequest
from penstock.cost_tracking.v1.spend_pb2 import DIMENSION_VERSION, Reconciliation
from penstock.experimentation.v1.analysis_pb2 import Analysis
from penstock.experimentation.v1.experimentation_service_pb2 import AnalyzeExperimentRequest, AssignRequest
from penstock.health_monitoring.v1.health_monitoring_service_pb2 import ListTransitionsRequest
from penstock.health_monitoring.v1.health_pb2 import Transition
from penstock_client import Penstock

SETTLE_SECONDS = 30.0
CONTROL = "1"


def main() -> int:
    console = Console(width=None if sys.stdout.isatty() else 130, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = default_home() / "demo"
    try:
        stack = Stack(Places.of(home), Ports.from_environment(os.environ), durable=False)
        stack.stop()
        stack.remove()
        shutil.rmtree(home)
        stack = Stack(Places.of(home), stack.ports, durable=False)
        try:
            with step(console, "two Tritons, Postgres, Redis, Envoy and six services are up"):
                stack.start(parent=os.getpid())
                key = serving.first_key(stack)
            with Penstock(stack.address("ingress"), api_key=key) as penstock:
                return run(stack, penstock, key, home, console)
        finally:
            stack.stop()
    except (*FAULTS, serving.NotReady) as error:
        console.print(f"[red]{error}[/red]")
    except grpc.RpcError as error:
        console.print(f"[red]{error.code().name}: {error.details()}[/red]")
    return 1


def run(stack: Stack, penstock: Penstock, key: str, home: Path, console: Console) -> int:
    with step(console, "336,776 flights of 2013 are read"):
        year = data.load()
    past = year.between(data.new_york(1, 1), data.new_york(3, 4))
    week = year.between(data.new_york(3, 4), data.new_york(3, 11))
    with step(
        console, f"features are declared; {len(past.flights):,} departures until 3 March are in the feature store"
    ):
        features.register(penstock)
        features.write_planes(penstock, past.planes)
        features.write_weather(penstock, past.weather)
        features.push_departures(penstock, past.flights[past.flights["departed"] < pd.Timestamp(data.new_york(3, 4))])
    with step(console, "a point-in-time training set of January and February, three versions trained"):
        learned = year.between(data.new_york(1, 1), data.new_york(3, 1)).flights
        trained = training.train(training.point_in_time(penstock, learned), learned["late"].to_numpy())
    with step(console, "registered, deployed on both Tritons, routed, priced; the experiment runs"):
        serving.register(penstock, trained)
        serving.deploy(penstock, [version.version for version in trained])
        serving.set_prices(penstock)
        serving.route(penstock)
        serving.start_experiment(penstock)
    replay = Replay(penstock, stack.address("ingress"), key, home / "served.jsonl")
    began = Timestamp()
    began.GetCurrentTime()
    replayed(replay, week, Chaos(stack, penstock, len(week.flights)), console)
    since = ListTransitionsRequest(page_size=1000, **{"from": began})
    transitions = list(reversed(penstock.health.ListTransitions(since).transitions))
    return account(penstock, replay, week, {v.version: v.auc for v in trained}, transitions, console)


def replayed(replay: Replay, week: data.Flights, chaos: Chaos, console: Console) -> None:
    """Replay the week with a progress bar, and break servers in the middle."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(1) as beside:
        task = progress.add_task("4 to 10 March 2013", total=len(week.flights))
        breaking = beside.submit(chaos.run, progress.console.print)

        def advanced(flights: int) -> None:
            progress.advance(task, flights)
            chaos.served(flights)

        replay.run(week, advanced)
        breaking.result()


def account(
    penstock: Penstock,
    replay: Replay,
    week: data.Flights,
    training_auc: dict[str, float],
    transitions: list[Transition],
    console: Console,
) -> int:
    """Print every table and check; 0 when all checks hold."""
    served, failures = replay.tally.served, replay.tally.failures
    counted = settled(penstock, len(served))
    planned = plan(penstock, sorted({s.unit for s in served}))
    analysis = weighed(penstock)
    spend = penstock.costs.GetSpend(GetSpendRequest(group_by=[DIMENSION_VERSION])).rows
    for table in (
        report.calls(replay.tally),
        report.split(served, planned),
        report.quality(served, training_auc),
        report.evidence(analysis),
        report.spend(spend),
        report.counters(counted, len(served)),
        report.health(transitions),
    ):
        console.print()
        console.print(table)
    console.print()
    completed = sum(reading.value for reading in counted.envoy)
    wrong_split = [s for s in served if not s.fallback and s.version != planned[s.unit]]
    differing = differing_vectors(penstock, replay, week)
    for failure in failures[: report.SHOWN_FAILURES]:
        console.print(f"[red]{failure}[/red]")
    passed = report.checks(
        [
            Check(
                "no call failed, no client retried", not failures, f"{len(failures)} of {len(week.flights):,} failed"
            ),
            Check("the split is as planned", not wrong_split, f"{len(wrong_split)} of {len(served):,} differ"),
            Check("what was served is the point-in-time join", not differing, f"{differing} vectors differ"),
            Check(
                "the ledger is what clients counted and what Envoy completed",
                counted.ledger_requests == len(served) == completed,
                f"ledger {counted.ledger_requests:,}, clients {len(served):,}, Envoy {completed:,}",
            ),
        ],
        console,
    )
    return 0 if passed else 1


def settled(penstock: Penstock, answered: int) -> Reconciliation:
    """The counters once the ledger has as many as were answered; or as they stand after a while."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        counted = penstock.costs.Reconcile(ReconcileRequest()).reconciliation
        if counted.ledger_requests >= answered or time.monotonic() > deadline:
            return counted
        time.sleep(0.2)


def weighed(penstock: Penstock) -> Analysis:
    """The evidence once no outcome waits for its exposure, which comes by the record log; or as it stands then."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        asked = AnalyzeExperimentRequest(name=serving.EXPERIMENT)
        analysis = penstock.experiments.AnalyzeExperiment(asked).analysis
        if not analysis.waiting_outcomes or time.monotonic() > deadline:
            return analysis
        time.sleep(0.2)


def plan(penstock: Penstock, units: list[str]) -> dict[str, str]:
    """The version that each unit should get, as the experiment computes it; units outside it get the default."""
    answer = penstock.experiments.Assign(AssignRequest(experiment=serving.EXPERIMENT, units=units))
    return {assigned.unit: assigned.version or CONTROL for assigned in answer.assignments}


def differing_vectors(penstock: Penstock, replay: Replay, week: data.Flights) -> int:
    """How many served vectors are not, value for value, those of the point-in-time join. NaN equals NaN."""
    joined = dict(zip(week.flights["id"], training.point_in_time(penstock, week.flights), strict=True))
    return sum(not np.array_equal(s.vector, joined[s.flight], equal_nan=True) for s in replay.tally.served)


@contextmanager
def step(console: Console, what: str) -> Generator[None]:
    """Say what is done and how long it took."""
    started = time.monotonic()
    with console.status(what):
        yield
    console.print(f"{time.monotonic() - started:6.1f} s  {what}")


if __name__ == "__main__":
    sys.exit(main())
