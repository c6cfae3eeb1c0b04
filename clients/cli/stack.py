"""up, down, status, logs: the stack on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from clients.cli.failures import fail
from clients.cli.session import session
from deploy.local import commands
from deploy.local.places import admin_key, default_home


def add_to(app: typer.Typer) -> None:
    for command in (up, down, status, logs):
        app.command(command.__name__)(command)


def up(context: typer.Context) -> None:
    """Start two Tritons, Postgres, Redis, Envoy and six services; returns when all are ready."""
    console = session(context).console
    with console.status("starting"):
        started = commands.up()
    console.print("Up." if started else "It was up already.")
    console.print(f"Ingress: localhost:{commands.the_stack().ports['ingress']}")
    if admin_key(default_home()).exists():
        console.print(f"An API key of an admin: {admin_key(default_home())}", soft_wrap=True)


def down(context: typer.Context) -> None:
    """Stop it, services first."""
    console = session(context).console
    with console.status("stopping"):
        stopped = commands.down()
    console.print("Down." if stopped else "Nothing was running.")


def status(context: typer.Context) -> None:
    """Every part, its ports, pid, readiness and restarts. Exits with 1 unless all are ready."""
    parts = commands.status()
    if not any(part.process for part in parts.values()):
        fail("Nothing is running.", "`penstock up` starts the stack.")
    rows = [
        (
            name,
            " ".join(str(number) for number in part.ports.values()),
            part.process.pid if part.process else "",
            "ready" if part.ready else part.problem or "starting",
            part.restarts or "",
        )
        for name, part in parts.items()
    ]
    session(context).table(("part", "ports", "pid", "state", "restarts"), rows, "")
    if not all(part.ready for part in parts.values()):
        raise typer.Exit(1)


def logs(
    context: typer.Context,  # noqa: ARG001  the same shape as its siblings
    part: Annotated[str, typer.Argument(help="a part of `penstock status`, or supervisor")] = "",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until interrupted")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n")] = 100,
) -> None:
    """The last lines of a part's log."""
    if not part:
        fail(
            f"Whose log? {', '.join((*commands.status(), 'supervisor'))}",
            "`penstock logs routing -f` follows routing's.",
        )
    commands.logs(part, follow=follow, lines=lines)
