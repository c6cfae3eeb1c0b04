"""A pytest plugin: how many tests of each kind ran, and which were left out because a tool is missing.

The kind of a test is the name of its folder under tests/. A test marked `needs("h2load")` is deselected where the tool
is not there; where the environment variable CI is set it runs, and fails.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import PurePosixPath

import pytest

KINDS = ("unit", "contract", "integration", "e2e", "chaos")
COLUMNS = ("passed", "failed", "skipped", "deselected")
PACKAGES = {
    "h2load": "Debian's nghttp2-client",
    "curl": "Debian's curl",
    "grpcurl": "github.com/fullstorydev/grpcurl/cmd/grpcurl, by `go install`",
}
LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    tools = ", ".join(PACKAGES)
    config.addinivalue_line("markers", f"needs(tool): left out where the tool is missing, unless CI is set ({tools})")
    config.stash[LEFT_OUT] = Counter()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = {item: tools for item in items if (tools := _missing(item))}
    if not missing or os.environ.get("CI"):
        return
    for tools in missing.values():
        config.stash[LEFT_OUT].update(tools)
    config.hook.pytest_deselected(items=list(missing))
    items[:] = [item for item in items if item not in missing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = _counted(terminalreporter.stats)
    kinds = (*KINDS, *sorted({kind for kind, _ in found} - set(KINDS)))
    terminalreporter.write_sep("=", "tests of each kind")
    for row in (("", *COLUMNS), *((kind, *(str(found[kind, column]) for column in COLUMNS)) for kind in kinds)):
        terminalreporter.write_line(f"{row[0]:<12}" + "".join(f"{cell:>12}" for cell in row[1:]))
    for tool, tests in sorted(config.stash[LEFT_OUT].items()):
        terminalreporter.write_line(
            f"left out because {tool} is missing: {tests}. It comes with {PACKAGES[tool]}", yellow=True
        )


def _missing(item: pytest.Item) -> list[str]:
    """The tools of its marks that are not there. Raises UsageError for one without a package."""
    tools = {str(tool) for mark in item.iter_markers("needs") for tool in mark.args}
    if unknown := tools - PACKAGES.keys():
        raise pytest.UsageError(f"{item.nodeid} needs {', '.join(sorted(unknown))}: say in {__name__} whence it comes")
    return [tool for tool in sorted(tools) if shutil.which(tool) is None]


def _counted(stats: dict[str, list[object]]) -> Counter[tuple[str, str]]:
    """How many tests, by kind and column. A test that passed and whose teardown then failed has failed."""

    def tests(outcome: str) -> set[str]:
        return {str(getattr(report, "nodeid", "")) for report in stats.get(outcome, ())}

    failed = tests("failed") | tests("error")
    columns = (tests("passed") - failed, failed, tests("skipped"), tests("deselected"))
    return Counter((_kind(node), column) for column, nodes in zip(COLUMNS, columns, strict=True) for node in nodes)


def _kind(node: str) -> str:
    parts = PurePosixPath(node.partition("::")[0]).parts
    return parts[1] if len(parts) > 2 and parts[0] == "tests" else "elsewhere"
