"""`python -m deploy.local up|down|status|logs PART [-f]`: the stack without the `penstock` command."""

from __future__ import annotations

import argparse
import sys

from deploy.local import commands


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m deploy.local", description="The one-machine stack.")
    actions = parser.add_subparsers(dest="action", required=True)
    for name in ("up", "down", "status"):
        actions.add_parser(name)
    logs = actions.add_parser("logs")
    logs.add_argument("part")
    logs.add_argument("-f", "--follow", action="store_true")
    arguments = parser.parse_args()
    try:
        return _do(arguments)
    except commands.FAULTS as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    except KeyboardInterrupt:
        return 130


def _do(arguments: argparse.Namespace) -> int:
    if arguments.action == "up":
        _print("up" if commands.up() else "was up already")
        _print("authentication is off: every caller is tenant local, role admin")
        return _show()
    if arguments.action == "down":
        _print("down" if commands.down() else "was down already")
        return 0
    if arguments.action == "logs":
        commands.logs(arguments.part, follow=arguments.follow)
        return 0
    return _show()


def _show() -> int:
    """Print the table; 0 when every part is ready."""
    parts = commands.status()
    lines = [f"{'part':<18} {'ready':<6} {'pid':>8} {'restarts':>8}  ports"]
    for name, part in parts.items():
        ports = ", ".join(f"{port} {number}" for port, number in part.ports.items())
        pid = part.process.pid if part.process else "-"
        line = f"{name:<18} {'yes' if part.ready else 'no':<6} {pid:>8} {part.restarts:>8}  {ports}  {part.problem}"
        lines.append(line.rstrip())
    _print("\n".join(lines))
    return 0 if all(part.ready for part in parts.values()) else 3


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")


sys.exit(main())
