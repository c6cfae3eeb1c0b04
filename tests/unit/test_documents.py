"""What documents point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    document.relative_to(ROOT)
    for pattern in ("*.md", "clients/**/*.md", "deploy/**/*.md", "docs/**/*.md", "services/**/*.md")
    for document in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
# paths in backquotes, such as `tests/e2e/test_readme.py` or `deploy/local`
PATH = re.compile(r"`((?:benchmarks|clients|deploy|docs|examples|libs|protos|services|tests)/[\w./-]+)`")


def anchors(document):
    titles = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document):
    for target, anchor in LINK.findall((ROOT / document).read_text()):
        if "*" in target:
            continue
        found = (ROOT / document).parent / target if target else ROOT / document
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_paths_are_there(document):
    rooms = (ROOT, (ROOT / document).parent)
    named = PATH.findall((ROOT / document).read_text())
    assert [path for path in named if not any((room / path).exists() for room in rooms)] == []
