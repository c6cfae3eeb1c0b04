"""The state of the evidence: posteriors, the split against the plan, and the rule that names a winner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import chdtrc

from services.experimentation.domain.allocation import allocated
from services.experimentation.domain.beta import Beta, better, ratio_interval
from services.experimentation.domain.evidence import Evidence, Tally
from services.experimentation.domain.experiment import Direction, Experiment

ENOUGH = 0.95
"""A winner is better than the control with a probability above this."""
SPLIT_ALARM = 0.001
FEWEST_UNITS_PER_VARIANT = 8
"""With fewer on average, chi-square says nothing."""


@dataclass(frozen=True)
class Weighed:
    """The evidence on one variant. Lifts are relative to the control's rate; 0 for the control."""

    variant: str
    version: str
    tally: Tally
    rate: Beta
    interval: tuple[float, float]
    probability_better: float = 0.0
    lift: float = 0.0
    lift_interval: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Analysis:
    """`winner` is empty while there is none. `split_p_value` is None while there are too few units to tell."""

    variants: tuple[Weighed, ...]
    winner: str
    verdict: str
    split_p_value: float | None
    evidence: Evidence


def analyse(experiment: Experiment, evidence: Evidence) -> Analysis:
    """Pure, and slow for millions of outcomes (a second or so): run it beside the event loop."""
    variants = _weigh(experiment, evidence)
    winner = _winner(experiment, variants)
    split = split_p_value(experiment, variants)
    verdict = _verdict(experiment, variants, winner) + _warning(split, evidence)
    return Analysis(variants, winner.variant if winner else "", verdict, split, evidence)


def _weigh(experiment: Experiment, evidence: Evidence) -> tuple[Weighed, ...]:
    tallies = [evidence.tallies.get(variant.name, Tally()) for variant in experiment.draft.variants]
    rates = [Beta.after(tally.positive, tally.outcomes) for tally in tallies]
    control = rates[0]
    lower = experiment.draft.direction is Direction.LOWER
    found: list[Weighed] = []
    for variant, tally, rate in zip(experiment.draft.variants, tallies, rates, strict=True):
        alone = Weighed(variant.name, variant.version, tally, rate, rate.interval())
        if not found:
            found.append(alone)
            continue
        low, high = ratio_interval(rate, control)
        compared = replace(
            alone,
            probability_better=better(control, rate) if lower else better(rate, control),
            lift=rate.mean / control.mean - 1,
            lift_interval=(low - 1, high - 1),
        )
        found.append(compared)
    return tuple(found)


def _gain(experiment: Experiment, variant: Weighed) -> float:
    """The lift in the direction that is good."""
    return -variant.lift if experiment.draft.direction is Direction.LOWER else variant.lift


def _winner(experiment: Experiment, variants: Sequence[Weighed]) -> Weighed | None:
    """Of the variants that are better than the control for nearly sure, and by enough, the one with the most gain.

    A control without any outcome loses to nobody: its prior would.
    """
    control, *others = variants
    enough = [
        variant
        for variant in others
        if control.tally.outcomes
        and variant.probability_better > ENOUGH
        and _gain(experiment, variant) > experiment.draft.minimum_lift
    ]
    return max(enough, key=lambda variant: _gain(experiment, variant), default=None)


def split_p_value(experiment: Experiment, variants: Sequence[Weighed]) -> float | None:
    """Chi-square probability that units would split so unevenly by chance, given the buckets of each variant."""
    seen = [variant.tally.units for variant in variants]
    total = sum(seen)
    if total < FEWEST_UNITS_PER_VARIANT * len(seen):
        return None
    buckets = [owned.end - owned.start for owned in allocated(experiment)]
    expected = [total * width / sum(buckets) for width in buckets]
    statistic = math.fsum((units - want) ** 2 / want for units, want in zip(seen, expected, strict=True))
    return float(chdtrc(len(seen) - 1, statistic))


def _verdict(experiment: Experiment, variants: Sequence[Weighed], winner: Weighed | None) -> str:
    control, *others = variants
    if winner:
        return f"{winner.variant} wins with {_progress(experiment, winner)}"
    if not any(variant.tally.outcomes for variant in variants):
        return "no winner: no outcome has been joined to an exposure yet"
    if not control.tally.outcomes:
        return f"no winner: the control {control.variant} has no outcomes yet"
    return "no winner yet: " + "; ".join(
        f"{variant.variant} has {_progress(experiment, variant)}" for variant in others
    )


def _progress(experiment: Experiment, variant: Weighed) -> str:
    low, high = variant.lift_interval
    minimum = experiment.draft.minimum_lift
    needs = f"< -{minimum:.1%}" if experiment.draft.direction is Direction.LOWER else f"> {minimum:.1%}"
    return (
        f"P(better than the control) = {variant.probability_better:.4f} (needs > {ENOUGH}),"
        f" a lift of {variant.lift:+.1%} (needs {needs}), 95 % between {low:+.1%} and {high:+.1%}"
    )


def _warning(split: float | None, evidence: Evidence) -> str:
    text = ""
    if split is not None and split < SPLIT_ALARM:
        text += f". Distrust this: units are not split as planned (p = {split:.2g})"
    if evidence.mixed_units:
        text += f". {evidence.mixed_units} units were served by several variants and count for their first"
    return text
