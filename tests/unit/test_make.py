"""What make says: which targets there are, and what it knows of one that is not there."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = ["demo", "test", "lint", "types", "arch", "protos", "up", "down", "status", "logs", "bench", "fmt"]


def test_help_lists_every_target():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    listed = [line.split()[1] for line in done.stdout.splitlines()]
    assert set(TARGETS) <= set(listed)
    assert all(len(line.split()) > 2 for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", ["", "wrong", "native", "."])
def test_an_unknown_benchmark_is_answered_with_those_there_are(name):
    # -o: the environments that run this test are there
    asked = ["make", "-o", "setup", "bench", f"NAME={name}"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "native_path" in done.stderr
    assert "cost_intake" in done.stderr
