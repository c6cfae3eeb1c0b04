"""What make says when it is asked for what there is not."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["", "wrong", "native", "."])
def test_an_unknown_benchmark_is_answered_with_those_there_are(name):
    # -o: the environments that run this test are there
    asked = ["make", "-o", "setup", "bench", f"NAME={name}"]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert "native_path" in done.stderr
    assert "cost_intake" in done.stderr
