"""A check that is switched off says why, on its line."""

import re
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOMS = ("services", "libs", "clients", "deploy", "examples", "benchmarks", "tests")
IGNORE = re.compile(r"#\s*(?:noqa|type:\s*ignore|pyright:\s*ignore)\b(.*)")
RULES = re.compile(r":?\s*(?:\[[\w, -]*\]|[A-Z]+[0-9]+(?:,\s*[A-Z]+[0-9]+)*)?")
LEAST_REASON = 4


def unexplained(comment: str) -> bool:
    """Whether a comment switches a check off and gives no reason."""
    found = IGNORE.search(comment)
    return found is not None and len(RULES.sub("", found[1], count=1).strip(" #-")) < LEAST_REASON


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


@pytest.mark.parametrize("silence", ["# noqa: S101", "# noqa: S101, PT018", "# noqa", "# pyright: ignore[reportAny]"])
def test_what_counts_as_a_reason(silence):
    assert unexplained(silence)
    assert not unexplained(f"{silence}  refused above")


def test_every_ignore_in_the_code_has_a_reason():
    bare = [
        f"{path.relative_to(ROOT)}:{line}: {comment}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, comment in comments(path)
        if unexplained(comment)
    ]
    assert not bare, "\n".join(bare)


def test_every_ignore_of_the_configuration_has_a_reason():
    text = (ROOT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]
    rules = {*lint["ignore"], *(rule for those in lint["per-file-ignores"].values() for rule in those)}
    lines = [line for line in text.splitlines() if line.strip().split(",")[0].strip('"') in rules]
    lines += [line for line in text.splitlines() if line.startswith("report") and "false" in line]
    assert len(lines) > len(rules)
    assert not [line for line in lines if "#" not in line]
