"""docs/metrics.md as tables, and what a process really exposes."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
ALWAYS = "Every service"
# of the client library, on every page
LIBRARY = re.compile(r"(python|process)_.*|.*_created")
TYPE = re.compile(r"^# TYPE (\S+) (\S+)$", re.MULTILINE)
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? \S+$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="(?:[^"\\]|\\.)*"')
PART_OF_HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


@dataclass(frozen=True)
class Family:
    """A metric as it is listed."""

    type: str
    labels: frozenset[str]
    rare: bool
    """No samples before what it counts has happened once."""


@dataclass
class Exposed:
    """A metric as it is exposed."""

    type: str
    labels: set[frozenset[str]] = field(default_factory=set)
    """Label names of its samples; empty while it has none."""


def tables() -> dict[str, list[list[dict[str, str]]]]:
    """The rows of every table, by heading; a row is a cell for each column's name."""
    found: dict[str, list[list[dict[str, str]]]] = {}
    heading, columns = "", []
    for line in PAGE.read_text().splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ")
            found[heading] = []
        if not line.startswith("|"):
            columns = []
        elif not columns:
            columns = _cells(line)
            found[heading].append([])
        elif set(line) - set("|-"):
            found[heading][-1].append(dict(zip(columns, _cells(line), strict=True)))
    return found


def listed(heading: str) -> dict[str, Family]:
    """The metrics of the only table under a heading."""
    (rows,) = tables()[heading]
    return {
        name: Family(row["type"], frozenset(words(row["labels"])), rare="†" in row["name"])
        for row in rows
        for name in words(row["name"])
    }


def words(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def exposed(url: str) -> dict[str, Exposed]:
    """The families of a page, without the client library's own."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    found = {name: Exposed(kind) for name, kind in TYPE.findall(text) if not LIBRARY.fullmatch(name)}
    for name, labels in SAMPLE.findall(text):
        family = found.get(name) or found.get(PART_OF_HISTOGRAM.sub("", name))
        if family:
            family.labels.add(frozenset(LABEL.findall(labels)) - {"le"})  # a bucket's bound is no label of the family
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip()[1:-1].split("|")]
