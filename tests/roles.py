"""Every RPC of Penstock and who may call it; `python -m tests.roles` writes docs/roles.md's tables anew."""

from __future__ import annotations

import importlib
from pathlib import Path

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from libs.roles import ROLES, allowed_roles

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "roles.md"
BEGIN = "<!-- written by `python -m tests.roles` -->\n"


def services() -> list[ServiceDescriptor]:
    """Of every proto of ours, by name."""
    protos = sorted((ROOT / "protos").glob("penstock/**/*_service.proto"))
    modules = [".".join(p.relative_to(ROOT / "protos").with_suffix("").parts) + "_pb2" for p in protos]
    files = [importlib.import_module(module).DESCRIPTOR for module in modules]
    return sorted((s for file in files for s in file.services_by_name.values()), key=lambda s: s.full_name)


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


def tables() -> str:
    return "\n".join(_table(service) for service in services())


def _table(service: ServiceDescriptor) -> str:
    lines = [f"## {service.full_name}\n", f"| RPC | {' | '.join(ROLES)} |", "|---" * (len(ROLES) + 1) + "|"]
    for method in service.methods:
        allowed = allowed_roles(path(method)) or frozenset()
        marks = " | ".join("x" if role in allowed else " " for role in ROLES)
        lines.append(f"| {method.name} | {marks} |")
    return "\n".join(lines) + "\n"


def written() -> str:
    """The page as it ought to be: what is above the mark stays."""
    return PAGE.read_text().partition(BEGIN)[0] + BEGIN + "\n" + tables()


if __name__ == "__main__":
    PAGE.write_text(written())
