"""Snapshots and what is in them, from the domain to the wire."""

from collections.abc import Iterable, Mapping

from google.protobuf.timestamp_pb2 import Timestamp

from penstock.routing.v1 import snapshot_pb2
from services.routing.domain.compiled import Chain, Endpoint, ModelPolicy, Policy, ServerSet
from services.routing.domain.history import Entry
from services.routing.domain.parts import ROUTE
from services.routing.domain.policy import Route
from services.routing.domain.reasons import what


def encode_entry(entry: Entry) -> snapshot_pb2.Snapshot:
    published = Timestamp()
    published.FromDatetime(entry.time)
    return snapshot_pb2.Snapshot(
        number=entry.number,
        revision=entry.revision,
        publish_time=published,
        authors=entry.authors,
        reasons=entry.reasons,
        counts=[
            snapshot_pb2.ResourceCount(
                type=count.type, total=count.total, added=count.added, changed=count.changed, removed=count.removed
            )
            for count in entry.counts
        ],
        unrecorded=entry.unrecorded,
    )


def encode_table(policy: ModelPolicy) -> snapshot_pb2.ModelTable:
    copies = policy.copies if policy.copies and policy.copies.servers else None
    return snapshot_pb2.ModelTable(
        model=policy.model,
        salt=policy.salt,
        slices=[
            snapshot_pb2.TableSlice(
                start=owner.start,
                end=owner.end,
                experiment=owner.experiment,
                variant=owner.variant,
                chain=_versions(owner.chain, policy.model),
                composite=owner.chain.composite,
            )
            for owner in policy.slices
        ],
        pinned_versions=[chain.wanted.version for chain in policy.pinned],
        mirror_version=copies.target.version if copies else "",
        mirror_basis_points=copies.basis_points if copies else 0,
        mirror_server_set=copies.servers if copies else "",
    )


def encode_composites(policy: Policy, names: Iterable[str]) -> list[snapshot_pb2.Composite]:
    return [snapshot_pb2.Composite(name=name, server_sets=policy.composites[name]) for name in names]


def encode_set(servers: ServerSet) -> snapshot_pb2.ServerSet:
    return snapshot_pb2.ServerSet(
        name=servers.name,
        load_balancing=servers.load_balancing.value,
        members=[_member(endpoint) for endpoint in servers.endpoints],
    )


def encode_restored(changes: Mapping[str, tuple[Route | None, Route | None]]) -> list[snapshot_pb2.RestoredRoute]:
    return [
        snapshot_pb2.RestoredRoute(model=model, change=change(before, after), what=what(ROUTE, before, after))
        for model, (before, after) in changes.items()
    ]


def change(before: object | None, after: object | None) -> snapshot_pb2.Change.ValueType:
    if before is None:
        return snapshot_pb2.CHANGE_ADDED
    return snapshot_pb2.CHANGE_REMOVED if after is None else snapshot_pb2.CHANGE_CHANGED


def _versions(chain: Chain, model: str) -> list[str]:
    targets = (attempt.target for attempt in chain.attempts)
    return [target.version if target.model == model else f"{target.model}/{target.version}" for target in targets]


def _member(endpoint: Endpoint) -> snapshot_pb2.SetMember:
    return snapshot_pb2.SetMember(
        server=endpoint.server,
        address=endpoint.host,
        included=endpoint.included,
        reason=endpoint.reason,
        weight=endpoint.weight,
        weight_reason=endpoint.weight_reason,
    )
