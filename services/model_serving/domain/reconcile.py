"""What to do about a server, from what it should have and what it has. Pure: no clock, no call, no store."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from itertools import groupby

from services.model_serving.domain.deployment import Placement, PlacementState, Wanted

VANISHED = "the server no longer has it"

Key = tuple[str, str]
"""Model and version."""


@dataclass(frozen=True)
class Seen:
    """What a server said when it was asked."""

    ready: AbstractSet[Key]
    owners: Mapping[str, str]
    """Of the models that were asked for and are loaded: which registry loaded them; empty when none did."""


class Unseen(Enum):
    """Why a server could not be asked, for people."""

    GONE = "nothing listens at the server's address"
    """Its process has ended: it comes back empty."""
    SILENT = "the server does not answer"
    """It is busy, it hangs, or the network between us is broken: it has what it had, for all we know."""
    OURSELVES = "Penstock itself answers at the server's address: inference that went there would come back"
    """Nothing was ever loaded there, and nothing may be called there."""


@dataclass(frozen=True)
class Change:
    """A placement enters a state; `after` is None when it is gone."""

    key: Key
    before: Placement
    after: Placement | None
    unless_last: bool = False
    """Only where another placement of the version is READY: else callers would have nowhere to go at all, on no more
    than our word. Whether a server can be called is for Envoy and health_monitoring to see."""


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
    wanted: Sequence[Wanted], seen: Seen | Unseen, busy: Collection[str], now: datetime, *, owner: str, drain: timedelta
) -> Plan:
    """Models in `busy` have work under way, and only what callers must know at once changes for them. `owner` is this
    registry; traffic leaves a placement during `drain`."""
    plan = Plan()
    if isinstance(seen, Unseen):
        for w in wanted:
            if seen is not Unseen.SILENT or w.model not in busy:
                _suspend(plan, w, seen, now)
        return plan
    for model, group in groupby(sorted(wanted, key=lambda w: (w.model, w.version.number)), key=lambda w: w.model):
        those = list(group)
        for w in those:
            if w.placement.state is PlacementState.READY and w.key not in seen.ready:
                _enter(plan, w, PlacementState.PENDING, now, VANISHED)
        if model not in busy:
            _settle(plan, model, those, seen, now, owner, drain)
    return plan


def _suspend(plan: Plan, w: Wanted, why: Unseen, now: datetime) -> None:
    """What was ready on a server that is gone must be seen there again first; silence is no evidence of anything."""
    state = w.placement.state
    if state is PlacementState.UNLOADING and why is not Unseen.SILENT:
        plan.changes.append(Change(w.key, w.placement, None))
        return
    affected = [PlacementState.PENDING, PlacementState.LOADING]
    if why is not Unseen.SILENT:
        affected += [PlacementState.READY, PlacementState.FAILED]
    ready = state is PlacementState.READY
    said_so = state is PlacementState.PENDING and w.placement.message == why.value
    if state in affected and not said_so:
        after = w.placement.enter(PlacementState.PENDING, now, why.value)
        plan.changes.append(Change(w.key, w.placement, after, unless_last=ready and why is Unseen.GONE))


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
