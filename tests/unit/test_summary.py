"""The plugin that tells how many tests of each kind ran."""

import pytest

pytest_plugins = ["pytester"]

NEEDS = """
    import subprocess
    import pytest

    @pytest.mark.needs("h2load")
    def test_load():
        subprocess.run(["h2load", "--version"], check=True)

    def test_other():
        pass
"""


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A pytest with the plugin in an empty folder, on a machine that has no tools and is not CI."""
    monkeypatch.setenv("PATH", str(pytester.mkdir("no tools")))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return pytester


def run(pytester: pytest.Pytester, *more: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "tests.summary", "--strict-markers", *more)


def write(pytester: pytest.Pytester, path: str, source: str) -> None:
    file = pytester.path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(source)


def rows(result: pytest.RunResult) -> dict[str, list[str]]:
    """The table's lines, by kind."""
    start = next(n for n, line in enumerate(result.outlines) if "tests of each kind" in line)
    cells = (line.split() for line in result.outlines[start + 2 :])
    return {kind: counts for kind, *counts in filter(None, cells) if counts and all(map(str.isdigit, counts))}


def test_every_kind_has_a_line_also_when_nothing_of_it_ran(inner: pytest.Pytester) -> None:
    write(inner, "tests/unit/deep/test_a.py", "def test_one(): pass\ndef test_two(): pass")
    write(inner, "tests/chaos/test_b.py", "def test_one(): assert False")
    write(inner, "tests/load/test_c.py", "import pytest\ndef test_one(): pytest.skip()")
    write(inner, "test_d.py", "def test_one(): pass")
    result = run(inner, "-k", "not two")
    assert rows(result) == {
        "unit": ["1", "0", "0", "1"],
        "contract": ["0", "0", "0", "0"],
        "integration": ["0", "0", "0", "0"],
        "e2e": ["0", "0", "0", "0"],
        "chaos": ["0", "1", "0", "0"],
        "elsewhere": ["1", "0", "0", "0"],
        "load": ["0", "0", "1", "0"],
    }
    assert "1 failed, 2 passed, 1 skipped, 1 deselected" in result.outlines[-1]


def test_a_test_whose_teardown_fails_has_failed_once(inner: pytest.Pytester) -> None:
    source = """
import pytest
@pytest.fixture
def broken():
    yield
    raise RuntimeError
def test_one(broken): pass
"""
    write(inner, "tests/e2e/test_a.py", source)
    assert rows(run(inner))["e2e"] == ["0", "1", "0", "0"]


def test_a_file_that_cannot_be_read_has_failed(inner: pytest.Pytester) -> None:
    write(inner, "tests/contract/test_a.py", "import nothing_of_this_name")
    assert rows(run(inner))["contract"] == ["0", "1", "0", "0"]


def test_a_test_whose_tool_is_missing_is_left_out_and_said_so(inner: pytest.Pytester) -> None:
    inner.makepyfile(NEEDS)
    result = run(inner)
    result.assert_outcomes(passed=1, deselected=1)
    result.stdout.fnmatch_lines(["left out because h2load is missing: 1.*nghttp2-client"])


def test_in_ci_it_runs_and_fails(inner: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    inner.makepyfile(NEEDS)
    result = run(inner)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("left out*")


def test_a_test_whose_tool_is_there_runs(inner: pytest.Pytester) -> None:
    tool = inner.path / "no tools" / "h2load"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    inner.makepyfile(NEEDS)
    run(inner).assert_outcomes(passed=2)


def test_a_tool_that_comes_from_nowhere_is_an_error(inner: pytest.Pytester) -> None:
    inner.makepyfile(NEEDS.replace("h2load", "wrench"))
    result = run(inner)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*test_load needs wrench*"])
