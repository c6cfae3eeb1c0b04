"""What to do about a server, from what it should have and what it has. Pure: no clock, no call, no store."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import groupby

from services.model_serving.domain.deployment import Placement, PlacementState, Wanted

UNREACHABLE = "the server cannot be reached"
VANISHED = "the server no longer has it"

Key = tuple[str, str]
"""Model and version."""


@dataclass(frozen=True)
class Seen:
    """What a server said when it was asked."""

    ready: AbstractSet[Key]
    owners: Mapping[str, str]
    """Of the models that were asked for and are loaded: which registry loaded them; empty when none did."""


@dataclass(frozen=True)
class Change:
    """A placement enters a state; `after` is None when it is gone."""

    key: Key
    before: Placement
    after: Placement | None


@dataclass(frozen=True)
class Load:
    """Have the server hold exactly `keep` and `add` of a model. Versions in `keep` are serving: a refusal of
    another must not cost them. Placements in `add` are LOADING already."""

    model: str
    keep: tuple[Wanted, ...]
    add: tuple[Wanted, ...]
    drop: tuple[Wanted, ...] = ()


@dataclass(frozen=True)
class Unload:
    """Have the server hold nothing of a model."""

    model: str
    drop: tuple[Wanted, ...]


Work = Load | Unload


@dataclass
class Plan:
    changes: list[Change] = field(default_factory=list[Change])
    work: list[Work] = field(default_factory=list[Work])


def undecided(wanted: Iterable[Wanted]) -> frozenset[str]:
    """Models whose owner on the server matters to `reconcile`."""
    decided = (PlacementState.READY, PlacementState.UNLOADING)
    return frozenset(w.model for w in wanted if w.placement.state not in decided)


def reconcile(
    wanted: Sequence[Wanted], seen: Seen | None, busy: Collection[str], now: datetime, *, owner: str, drain: timedelta
) -> Plan:
    """`seen` is None when the server could not be reached; models in `busy` have work under way, and only what
    callers must know at once changes for them. `owner` is this registry; traffic leaves a placement during `drain`."""
    plan = Plan()
    if seen is None:
        for w in wanted:
            _suspend(plan, w, now)
        return plan
    for model, group in groupby(sorted(wanted, key=lambda w: (w.model, w.version.number)), key=lambda w: w.model):
        those = list(group)
        for w in those:
            if w.placement.state is PlacementState.READY and w.key not in seen.ready:
                _enter(plan, w, PlacementState.PENDING, now, VANISHED)
        if model not in busy:
            _settle(plan, model, those, seen, now, owner, drain)
    return plan


def _suspend(plan: Plan, w: Wanted, now: datetime) -> None:
    """A server that cannot be reached may come back empty: what was ready there must be seen again first."""
    state = w.placement.state
    said_so = state is PlacementState.PENDING and w.placement.message == UNREACHABLE
    if state is not PlacementState.UNLOADING and not said_so:
        _enter(plan, w, PlacementState.PENDING, now, UNREACHABLE)


def _settle(
    plan: Plan, model: str, group: list[Wanted], seen: Seen, now: datetime, owner: str, drain: timedelta
) -> None:
    leaving = [w for w in group if w.placement.state is PlacementState.UNLOADING]
    there = [w for w in leaving if w.key in seen.ready]
    for w in leaving:
        if w not in there:
            plan.changes.append(Change(w.key, w.placement, None))
    drop = tuple(w for w in there if now - w.placement.update_time >= drain and w.placement.due(now))
    add = tuple(_candidates(plan, group, seen, now, owner))
    keep = tuple(w for w in group if w.key in seen.ready and w not in drop and w not in add)
    if drop:
        _drop(plan, model, keep, drop)
    elif add:
        loading = tuple(replace(w, placement=w.placement.loading(now)) for w in add)
        plan.changes += [
            Change(w.key, w.placement, begun.placement) for w, begun in zip(add, loading, strict=True)
        ]  # fmt: skip
        plan.work.append(Load(model, keep, loading))


def _candidates(plan: Plan, group: list[Wanted], seen: Seen, now: datetime, owner: str) -> Iterable[Wanted]:
    """Those to be loaded now; those that are found loaded become READY."""
    model = group[0].model
    loaded = any(ready_model == model for ready_model, _ in seen.ready)
    for w in group:
        if w.placement.state in (PlacementState.READY, PlacementState.UNLOADING):
            continue
        if loaded and model not in seen.owners:
            continue  # it came or went between two questions; the next round knows
        conflict = _conflict(w, seen.owners[model], owner) if loaded else ""
        if conflict:
            if w.placement.due(now):
                plan.changes.append(Change(w.key, w.placement, w.placement.refused(now, conflict)))
        elif w.key in seen.ready:
            _enter(plan, w, PlacementState.READY, now)
        elif w.placement.due(now):
            yield w


def _conflict(w: Wanted, loaded_by: str, owner: str) -> str:
    """Why a version may not be loaded over what is there; empty when it may."""
    if w.version.external:
        return "the server has this model from an uploaded version: delete that deployment first" if loaded_by else ""
    if not loaded_by:
        return (
            "the server has a model of this name that Penstock did not load: unload it there, or register"
            " this version as external"
        )
    return "" if loaded_by == owner else "another Penstock has loaded a model of this name: unload it there"


def _drop(plan: Plan, model: str, keep: tuple[Wanted, ...], drop: tuple[Wanted, ...]) -> None:
    if not keep:
        plan.work.append(Unload(model, drop))
    elif all(w.version.external for w in drop):
        # which versions an external model has is for its server's own policy; the model stays for the others
        plan.changes += [Change(w.key, w.placement, None) for w in drop]
    else:
        plan.work.append(Load(model, keep, (), drop))


def _enter(plan: Plan, w: Wanted, state: PlacementState, now: datetime, message: str = "") -> None:
    plan.changes.append(Change(w.key, w.placement, w.placement.enter(state, now, message)))
