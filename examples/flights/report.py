"""What the replay shows at its end: tables, and the checks that decide how it exits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.metrics import brier_score_loss, roc_auc_score

from examples.flights.replay import Served, Tally
from examples.flights.training import VERSIONS
from penstock.cost_tracking.v1.spend_pb2 import Reconciliation, SpendRow
from penstock.experimentation.v1.analysis_pb2 import Analysis
from penstock.health_monitoring.v1.health_pb2 import HealthState, Transition

NANO = 1_000_000_000
SHOWN_FAILURES = 10


@dataclass(frozen=True)
class Check:
    what: str
    passed: bool
    evidence: str


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> Table:
    """Text to the left, figures to the right."""
    made = Table(title=title, title_justify="left", caption=caption or None, caption_justify="left", caption_style="")
    listed = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]
    for index, name in enumerate(columns):
        figures = not any(letter.isalpha() for row in listed for letter in row[index])
        made.add_column(name, justify="right" if figures and index else "left", overflow="fold")
    for row in listed:
        made.add_row(*row)
    return made


def calls(tally: Tally) -> Table:
    rows: list[Sequence[object]] = []
    for way in ("Predict", "tritonclient"):
        seconds = [s.seconds * 1000 for s in tally.served if s.way == way]
        failed = sum(f" {way}: " in failure for failure in tally.failures)
        p50, p99 = np.percentile(seconds, [50, 99]) if seconds else (np.nan, np.nan)
        fallbacks = sum(s.fallback for s in tally.served if s.way == way)
        rows.append((way, len(seconds), failed, fallbacks, f"{p50:.1f}", f"{p99:.1f}"))
    return table("Calls", ("way", "answered", "failed", "by the fallback", "p50 ms", "p99 ms"), rows)


def quality(served: Sequence[Served], held_back: dict[str, float]) -> Table:
    rows: list[Sequence[object]] = []
    for version, (what, _) in VERSIONS.items():
        mine = [s for s in served if s.version == version]
        late = [s.late for s in mine]
        if len(set(late)) > 1:
            probabilities = [s.probability for s in mine]
            auc, brier = roc_auc_score(late, probabilities), brier_score_loss(late, probabilities)
            scores = f"{auc:.3f}", f"{brier:.3f}"
        else:
            scores = "-", "-"
        rows.append((version, what, len(mine), sum(late), *scores, f"{held_back[version]:.3f}"))
    columns = ("version", "model", "flights", "late", "AUC", "Brier", "AUC in training")
    return table("Quality on the flights that were served", columns, rows)


def split(served: Sequence[Served], planned: dict[str, str]) -> Table:
    want = Counter(planned[s.unit] for s in served)
    got = Counter(s.version for s in served)
    rows = [(v, want[v], got[v], f"{want[v] / len(served):.1%}") for v in sorted(VERSIONS)]
    return table("Split by tail number", ("version", "planned", "served", "of all"), rows)


def evidence(analysis: Analysis) -> Table:
    control, *others = analysis.variants
    rows = [
        ("version", *(v.version for v in analysis.variants)),
        ("units", *(v.exposed_units for v in analysis.variants)),
        ("outcomes", *(v.outcomes for v in analysis.variants)),
        ("right", *(v.positive_outcomes for v in analysis.variants)),
        ("rate [95 %]", *(f"{v.mean_rate:.3f} [{v.rate_low:.3f}, {v.rate_high:.3f}]" for v in analysis.variants)),
        ("lift [95 %]", "", *(f"{v.lift:+.3f} [{v.lift_low:+.3f}, {v.lift_high:+.3f}]" for v in others)),
        ("P(better)", "", *(f"{v.probability_better:.4f}" for v in others)),
    ]
    columns = ("", f"{control.variant}, the control", *(v.variant for v in others))
    return table("Experiment", columns, rows, analysis.verdict)


def spend(rows: Sequence[SpendRow]) -> Table:
    listed = [
        (
            row.group[0],
            row.requests,
            f"{row.compute_us / 1e6:.2f}",
            f"{row.nanodollars / NANO:.6f}",
            row.unpriced_requests,
        )
        for row in rows
    ]
    total = (
        "all",
        sum(r.requests for r in rows),
        f"{sum(r.compute_us for r in rows) / 1e6:.2f}",
        f"{sum(r.nanodollars for r in rows) / NANO:.6f}",
        sum(r.unpriced_requests for r in rows),
    )
    return table("Spend", ("version", "requests", "compute s", "dollars", "unpriced"), [*listed, total])


def counters(reconciliation: Reconciliation, answered: int) -> Table:
    rows: list[Sequence[object]] = [
        ("the clients, answered", answered, ""),
        ("the ledger", reconciliation.ledger_requests, ""),
        ("the record log, failed", reconciliation.failed_requests, ""),
    ]
    rows += [(r.source, r.value if r.HasField("value") else "-", r.error) for r in reconciliation.envoy]
    rows += [(r.source, r.value if r.HasField("value") else "-", r.error) for r in reconciliation.servers]
    return table("Who counted what", ("by", "inferences", "remark"), rows)


def health(transitions: Sequence[Transition]) -> Table:
    rows = [
        (
            t.time.ToDatetime().strftime("%H:%M:%S.%f")[:-3],
            t.target,
            f"{_state(getattr(t, 'from'))} → {_state(t.to)}",
            t.reason,
        )
        for t in transitions
    ]
    return table("Health during the replay, UTC", ("time", "target", "change", "why"), rows)


def checks(found: Sequence[Check], console: Console) -> bool:
    """Prints each; says whether all passed."""
    for check in found:
        mark = "[green]✔[/green]" if check.passed else "[red]✘[/red]"
        console.print(f"{mark} {check.what}: {check.evidence}")
    return all(check.passed for check in found)


def _state(state: HealthState) -> str:
    return HealthState.Name(state).removeprefix("HEALTH_STATE_")
