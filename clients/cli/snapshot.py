"""snapshot: what Envoy was told, when, because of whom; and the way back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import unified_diff
from itertools import islice
from typing import Annotated

import typer
from google.protobuf.timestamp_pb2 import Timestamp
from rich.padding import Padding

from clients.cli.explain import attempts
from clients.cli.pages import every
from clients.cli.session import Session, session
from clients.cli.watching import Watch, look
from penstock.routing.v1 import routing_service_pb2 as pb
from penstock.routing.v1 import snapshot_pb2

app = typer.Typer(help="What Envoy was told, when and why; and the way back.", no_args_is_help=True)

Named = Annotated[str, typer.Argument(help="a number or a revision of `penstock snapshot list`", show_default=False)]
Newest = Annotated[str, typer.Argument(help="a number or a revision; without it, the newest", show_default=False)]
SIGNS = {snapshot_pb2.CHANGE_ADDED: "+", snapshot_pb2.CHANGE_CHANGED: "~", snapshot_pb2.CHANGE_REMOVED: "-"}
WORDS = {
    snapshot_pb2.CHANGE_ADDED: "created again",
    snapshot_pb2.CHANGE_CHANGED: "changed",
    snapshot_pb2.CHANGE_REMOVED: "deleted",
}
LINES = 3
INDENT = 7


@app.command("list")
def list_snapshots(
    context: typer.Context,
    most: Annotated[int, typer.Option("--most", "-n", help="how many, 1 to 100", min=1)] = 20,
    watch: Watch = False,
) -> None:
    """The last snapshots, newest first, or last with --watch: when (UTC), who, how many of Envoy's resources are new
    (+), changed (~) and gone (-), and why."""
    at = session(context)

    def ask() -> list[snapshot_pb2.Snapshot]:
        asked = pb.ListSnapshotsRequest(page_size=min(most, 100))
        return list(islice(every(at.penstock.routing.ListSnapshots, asked, "snapshots"), most))

    shown = 0
    for found in look(at, ask, on=watch):
        if not found:
            at.console.print("No snapshot is recorded yet.")
        fresh = [each for each in found if each.number > shown]
        _tell(at, fresh[::-1] if watch else fresh)
        shown = max((each.number for each in found), default=shown)


def _tell(at: Session, found: Sequence[snapshot_pb2.Snapshot]) -> None:
    for each in found:
        who = ", ".join(each.authors)
        at.console.print(f"{each.number:>5}  {when(each.publish_time)}  {who}  {_counts(each)}", style="bold")
        for line in _few(each):
            at.console.print(Padding(line, (0, 0, 0, INDENT)))


@app.command()
def show(
    context: typer.Context,
    revision: Newest = "",
    model: Annotated[str, typer.Option(help="only this model")] = "",
    yaml: Annotated[bool, typer.Option("--yaml", help="write Envoy's resources out, as YAML")] = False,
) -> None:
    """What is in a snapshot: who gets which version of each model, on which servers."""
    at = session(context)
    asked = pb.GetSnapshotRequest(revision=revision, model=model, with_yaml=yaml)
    found = at.penstock.routing.GetSnapshot(asked)
    if yaml:
        for resource in found.resources:
            at.console.print(f"--- # {resource.type} {resource.name} {resource.version}", soft_wrap=True)
            at.console.print(resource.yaml, soft_wrap=True, end="")
        return
    _head(at, found.snapshot)
    at.console.print()
    rows = [
        (table.model, f"{(part.end - part.start) / 100:g} %", attempts(part.chain) or "none: refused", _variant(part))
        for table in found.models
        for part in table.slices
    ]
    at.table(("model", "share", "attempts", "experiment, variant"), rows, "It has no model.")
    if found.next_page_token:
        at.console.print(f"… and more than these {len(found.models)} models: --model names one.")
    at.console.print()
    sets = [(s.name, s.load_balancing.lower().replace("_", "-"), _members(s)) for s in found.server_sets]
    at.table(("server set", "balance", "servers"), sets, "No server is in use.")


@app.command()
def diff(context: typer.Context, revision: Named, to: Newest = "") -> None:
    """What is different: inputs, then Envoy's resources, with the lines that differ."""
    at = session(context)
    asked = pb.DiffSnapshotsRequest(from_revision=revision, to_revision=to or _newest(at))
    any_difference = False
    for each in every(at.penstock.routing.DiffSnapshots, asked, "differences"):
        any_difference = True
        at.console.print(f"{SIGNS.get(each.change, '?')} {each.type} {each.name}", style="bold", soft_wrap=True)
        if each.change == snapshot_pb2.CHANGE_CHANGED:
            for line in _lines(each):
                at.console.print(f"    {line}", soft_wrap=True)
    if not any_difference:
        at.console.print("Nothing is different.")


@app.command()
def rollback(
    context: typer.Context,
    revision: Named,
    model: Annotated[list[str], typer.Option(help="only the route of this model; may be given more than once")] = [],
    delete_newer: Annotated[bool, typer.Option("--delete-newer", help="delete routes that were created since")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
) -> None:
    """Make the routes again what they were. Deployments, experiments and health stay as they are."""
    at = session(context)
    done = at.penstock.routing.RollbackSnapshot(
        pb.RollbackSnapshotRequest(revision=revision, models=model, delete_newer=delete_newer, validate_only=dry_run)
    )
    number = done.restored.number
    if not done.routes:
        at.console.print(f"The routes are those of snapshot {number}: nothing to do.")
    else:
        title = f"Snapshot {number} would be restored:" if dry_run else f"The routes of snapshot {number} are restored:"
        at.console.print(title)
        rows = [(route.model, WORDS.get(route.change, "changed"), route.what) for route in done.routes]
        at.table(("model", "route", "how"), rows, "")
    if done.kept_models:
        at.console.print(f"Created since, and kept: {', '.join(done.kept_models)} (--delete-newer deletes them)")
    if done.routes and not dry_run:
        at.console.print("`penstock proxies` shows when Envoy has it.")


def _head(at: Session, found: snapshot_pb2.Snapshot) -> None:
    said = [
        ("snapshot", str(found.number or "not recorded yet")),
        ("revision", found.revision),
        ("published", f"{when(found.publish_time)} UTC"),
        ("who", ", ".join(found.authors)),
        ("why", "\n".join(found.reasons)),
        ("resources", "\n".join(_count(count) for count in found.counts)),
        ("unrecorded before it", str(found.unrecorded or "")),
    ]
    at.table(("", ""), [(name, text) for name, text in said if text], "")


def _newest(at: Session) -> str:
    found = at.penstock.routing.ListSnapshots(pb.ListSnapshotsRequest(page_size=1)).snapshots
    return str(found[0].number) if found else ""


def _few(found: snapshot_pb2.Snapshot) -> Iterator[str]:
    yield from found.reasons[:LINES]
    if len(found.reasons) > LINES:
        yield f"… `snapshot show {found.number}` says all"


def _counts(found: snapshot_pb2.Snapshot) -> str:
    sums = {
        "+": sum(count.added for count in found.counts),
        "~": sum(count.changed for count in found.counts),
        "-": sum(count.removed for count in found.counts),
    }
    return " ".join(f"{sign}{number}" for sign, number in sums.items() if number) or "same"


def _count(count: snapshot_pb2.ResourceCount) -> str:
    changes = {"new": count.added, "changed": count.changed, "gone": count.removed}
    told = ", ".join(f"{number} {what}" for what, number in changes.items() if number)
    return f"{count.total} {count.type}" + (f": {told}" if told else "")


def _variant(part: snapshot_pb2.TableSlice) -> str:
    return f"{part.experiment}, {part.variant}" if part.experiment else ""


def _members(found: snapshot_pb2.ServerSet) -> str:
    return "\n".join(f"{m.server} {m.address}{_standing(m)}" for m in found.members)


def _standing(member: snapshot_pb2.SetMember) -> str:
    if not member.included:
        return f" out: {member.reason}"
    return f" weight {member.weight}: {member.weight_reason}" if member.weight_reason else ""


def _lines(each: snapshot_pb2.Difference) -> Iterator[str]:
    """The lines that differ, with one around them."""
    compared: Sequence[str] = list(unified_diff(each.before.splitlines(), each.after.splitlines(), lineterm="", n=1))
    yield from (line for line in compared[2:] if not line.startswith("@@"))


def when(stamp: Timestamp) -> str:
    """`Nov 21 18:41:06`, UTC."""
    return f"{stamp.ToDatetime():%b %d %H:%M:%S}"
